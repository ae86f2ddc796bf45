import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from torch import Tensor

from detector.model.deltas import decode, encode


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Tensor, Tensor]:
    """Two (N, 4) xyxy tensors of boxes with sides of 1 to 400 pixels."""
    count = draw(st.integers(0, 5))
    made = []
    for _ in range(2):
        corners = draw(arrays(np.float32, (count, 2), elements=st.floats(-50, 500, width=32)))
        sizes = draw(arrays(np.float32, (count, 2), elements=st.floats(1, 400, width=32)))
        made.append(torch.from_numpy(np.concatenate([corners, corners + sizes], axis=1)))
    return made[0], made[1]


def test_the_parameterisation_is_the_papers() -> None:
    # Half a width to the right, a tenth of the height up, twice as wide, as high: 10 * .5, 10 * -.1, 5 * log 2, 0.
    proposal, target = torch.tensor([[10.0, 20, 30, 70]]), torch.tensor([[10.0, 15, 50, 65]])
    np.testing.assert_allclose(encode(proposal, target), [[5, -1, 5 * np.log(2), 0]], atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(pairs(), st.integers(1, 3))
def test_decode_undoes_encode_for_every_class(pair: tuple[Tensor, Tensor], classes: int) -> None:
    # A proposal of 1 pixel that becomes one of 400 may lose digits; growth is limited to 62.5.
    proposals, targets = pair
    grown = ((targets[:, 2:] - targets[:, :2]) / (proposals[:, 2:] - proposals[:, :2]) < 62).all(dim=1)
    deltas = encode(proposals[grown], targets[grown])
    back = decode(proposals[grown], deltas[:, None].expand(-1, classes, 4))
    assert back.shape == (int(grown.sum()), classes, 4) and back.dtype == torch.float32
    np.testing.assert_allclose(back, targets[grown][:, None].expand(-1, classes, 4), atol=0.02)


def test_each_class_has_its_own_deltas() -> None:
    proposal = torch.tensor([[0.0, 0, 20, 10]])
    deltas = torch.tensor([[[0.0, 0, 0, 0], [10, 0, 0, 0]]])  # the second class: one width to the right
    np.testing.assert_allclose(decode(proposal, deltas), [[[0, 0, 20, 10], [20, 0, 40, 10]]], atol=1e-5)


def test_growth_is_limited_so_that_nothing_overflows() -> None:
    box = decode(torch.tensor([[10.0, 20, 26, 52]]), torch.full((1, 1, 4), 1e4))[0]
    np.testing.assert_allclose(box[:, 2:] - box[:, :2], [[1000, 2000]], rtol=1e-3)


def test_no_boxes_have_no_deltas() -> None:
    none = torch.zeros(0, 4)
    assert encode(none, none).shape == (0, 4)
    assert decode(none, torch.zeros(0, 3, 4)).shape == (0, 3, 4)
