from collections.abc import Callable

import pytest
import torch
from torchvision.ops import roi_align

from detector.model.roi_pool import BINS, assign_levels, pool

STRIDES = (8, 16, 32)


def features(images: int, height: int = 256, width: int = 512) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(images, 3, height // s, width // s, generator=generator) for s in STRIDES]


@pytest.mark.parametrize(
    ("width", "height", "level"),
    [
        (1, 1, 0), (20, 500, 0), (223, 223, 0), (224, 224, 1), (112, 448, 1), (447, 447, 1), (448, 448, 2),
        (224, 896, 2), (5000, 5000, 2), (0, 50, 0),
    ],
)  # fmt: skip
def test_a_box_is_read_from_the_level_of_its_size(width: int, height: int, level: int) -> None:
    box = torch.tensor([[7.0, 3.0, 7 + width, 3 + height]])
    assert assign_levels(box, STRIDES).tolist() == [level]


def test_each_region_is_what_roi_align_gives_for_it_alone(random_boxes: Callable[..., torch.Tensor]) -> None:
    maps = features(images=2)
    # The boxes are of all levels, interleaved, and of both images.
    boxes = torch.cat([random_boxes(12, 256, 512), torch.tensor([[0.0, 0, 512, 256], [0, 0, 460, 470], [5, 9, 8, 11]])])
    boxes = boxes[torch.randperm(len(boxes), generator=torch.Generator().manual_seed(0))]
    rois = torch.cat([(torch.arange(len(boxes)) % 2)[:, None].float(), boxes], dim=1)
    levels = assign_levels(boxes, STRIDES).tolist()
    assert set(levels) == {0, 1, 2} and levels != sorted(levels)
    found = pool(maps, STRIDES, rois)
    assert found.shape == (len(boxes), 3, BINS, BINS)
    for i, level in enumerate(levels):
        alone = roi_align(maps[level], rois[i : i + 1], BINS, 1 / STRIDES[level], 1, aligned=True)
        torch.testing.assert_close(found[i : i + 1], alone, rtol=0, atol=0)


def test_no_regions_give_an_empty_tensor() -> None:
    assert pool(features(1), STRIDES, torch.zeros(0, 5)).shape == (0, 3, BINS, BINS)


def test_half_precision_features_are_read_in_float32() -> None:
    rois = torch.tensor([[0.0, 10, 20, 200, 90]])
    halves = [f.bfloat16() for f in features(1)]
    found = pool(halves, STRIDES, rois)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, pool([f.float() for f in halves], STRIDES, rois))
