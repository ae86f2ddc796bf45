import pytest
import torch
from torch import nn

from detector.model.pyramid import FeaturePyramid


def features() -> list[torch.Tensor]:
    return [torch.randn(2, 5, 8, 12), torch.randn(2, 6, 4, 6), torch.randn(2, 7, 2, 3)]


@pytest.mark.parametrize("light", [False, True])
def test_every_level_keeps_its_size_and_gets_the_same_depth(light: bool) -> None:
    found = FeaturePyramid((5, 6, 7), 9, light)(features())
    assert [tuple(f.shape) for f in found] == [(2, 9, 8, 12), (2, 9, 4, 6), (2, 9, 2, 3)]


def test_each_level_is_its_own_map_plus_the_coarser_one_enlarged() -> None:
    pyramid = FeaturePyramid((4, 4, 4), 4)
    for conv in [*pyramid.lateral, *pyramid.smooth]:
        nn.init.dirac_(conv.weight)  # the identity
        nn.init.zeros_(conv.bias)
    fine, middle, coarse = torch.randn(1, 4, 8, 12), torch.randn(1, 4, 4, 6), torch.randn(1, 4, 2, 3)
    found = pyramid([fine, middle, coarse])
    joined = middle + coarse.repeat_interleave(2, 2).repeat_interleave(2, 3)
    torch.testing.assert_close(found[2], coarse)
    torch.testing.assert_close(found[1], joined)
    torch.testing.assert_close(found[0], fine + joined.repeat_interleave(2, 2).repeat_interleave(2, 3))


def test_the_inputs_are_left_as_they_were() -> None:
    given = features()
    copies = [f.clone() for f in given]
    FeaturePyramid((5, 6, 7), 9)(given)
    assert all(torch.equal(a, b) for a, b in zip(given, copies, strict=True))
