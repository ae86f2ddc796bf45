from collections.abc import Callable

import numpy as np
import pytest
import torch
from PIL import Image

from detector.model.warp import warp, with_context


def reference(image: np.ndarray, box: np.ndarray, side: int) -> np.ndarray:
    """(3, H, W), (4,) -> (3, S, S) by the paper's words: a margin of 16 pixels of 227 around the box, the mean colour
    (zero) outside the image, then Pillow's resize with antialiasing."""
    x1, y1, x2, y2 = box
    margin_x, margin_y = ((high - low) * 16 / (227 - 32) for low, high in ((x1, x2), (y1, y2)))
    room = 400  # of zeros on every side
    padded = np.pad(image, ((0, 0), (room, room), (room, room)))
    area = (x1 - margin_x + room, y1 - margin_y + room, x2 + margin_x + room, y2 + margin_y + room)
    channels = [Image.fromarray(channel).resize((side, side), Image.Resampling.BILINEAR, area) for channel in padded]
    return np.stack([np.asarray(channel) for channel in channels])


@pytest.fixture(scope="module")
def image() -> np.ndarray:
    """A smooth image, so that the filters' differences are small, without a symmetry."""
    y, x = np.mgrid[0:96, 0:160].astype(np.float32)
    waves = [np.sin(x / 9 + y / 31), np.cos(y / 8), np.sin((x - 2 * y) / 13) * 0.5 + 0.3]
    return np.stack(waves).astype(np.float32)


@pytest.mark.parametrize(
    "box",
    [
        (40, 30, 100, 70), (10.5, 20.25, 30, 80), (70, 40, 100, 60), (0, 0, 160, 96), (0, 0, 30, 20),
        (120, 70, 160, 96), (60, 10, 66, 90),
    ],
)  # fmt: skip
@pytest.mark.parametrize("side", [32, 64])
def test_a_crop_is_the_papers(image: np.ndarray, box: tuple[float, ...], side: int) -> None:
    found = warp(torch.from_numpy(image)[None], [torch.tensor([box], dtype=torch.float32)], side)[0].numpy()
    expected = reference(image, np.array(box), side)
    assert found.shape == expected.shape == (3, side, side) and found.dtype == np.float32
    # At the image's edge half a pixel is repeated here, and Pillow blends with zeros: the difference is large there.
    edge = 0 in box or 160 in box
    assert np.abs(found - expected).mean() < (0.03 if edge else 0.01)
    assert np.quantile(np.abs(found - expected), 0.9) < 0.06
    assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > (0.97 if edge else 0.998)


def test_the_box_takes_the_middle_195_of_227_pixels() -> None:
    box = torch.tensor([[10.0, 20, 205, 410]])  # 195 x 390
    torch.testing.assert_close(with_context(box), torch.tensor([[-6.0, -12, 221, 442]]))


def test_outside_the_image_is_the_mean_colour() -> None:
    ones = torch.ones(1, 3, 64, 96)
    corner = torch.tensor([[0.0, 0, 40, 40]])  # 3.3 pixels of context outside, left and above
    crop = warp(ones, [corner], 227)[0]
    assert not crop[:, :12].any() and not crop[:, :, :12].any()  # half a pixel, 2.4 of the crop's, repeats the edge
    assert (crop[:, 17:, 17:] == 1).all()
    assert not warp(ones, [torch.tensor([[300.0, 300, 340, 320]])], 32).any()


def test_crops_come_image_after_image(random_boxes: Callable[..., torch.Tensor]) -> None:
    images = torch.randn(3, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    boxes = [random_boxes(2, 64, 96, 1), torch.zeros(0, 4), random_boxes(3, 64, 96, 2)]
    found = warp(images, boxes, 32)
    alone = [warp(images[i : i + 1], [boxes[i]], 32) for i in range(3)]
    assert [len(crops) for crops in alone] == [2, 0, 3]
    torch.testing.assert_close(found, torch.cat(alone), rtol=0, atol=0)


def test_half_precision_images_are_read_in_float32() -> None:
    assert warp(torch.ones(1, 3, 32, 32).bfloat16(), [torch.tensor([[0.0, 0, 9, 9]])], 32).dtype == torch.float32
