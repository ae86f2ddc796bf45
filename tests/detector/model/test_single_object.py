from collections.abc import Callable

import pytest
import torch
from torch.nn import functional

from detector.model.network import DetectionNetwork
from detector.model.single_object import SingleObject
from detector.model.training_images import Example
from detector.params import TrainSettings

# An image of 96 x 64 pixels has a small object, a large one, and one that is still larger.
TRUTH = torch.tensor([[2.0, 2, 20, 12], [24, 16, 72, 48], [0, 0, 96, 60]])
LABELS = torch.tensor([1, 3, 2])


def example(
    image: torch.Tensor, count: int, ignore: tuple[bool, ...] = (False, False, False), order: slice = slice(None)
) -> Example:
    flags = torch.tensor(ignore)[:count]
    return Example(image, torch.zeros(0, 4), TRUTH[:count][order], LABELS[:count][order], flags[order], flags[order], 0)


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.randn(3, 64, 96, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def single(lively_network: Callable[..., DetectionNetwork]) -> SingleObject:
    return lively_network(name="single_object")


def outputs(single: SingleObject, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    frame = torch.tensor([[0.0, 0, image.shape[2], image.shape[1]]])
    return single.outputs(image[None], frame)


@torch.no_grad()
def test_the_loss_is_softmax_plus_lambda_times_the_distance_to_the_largest_object(
    single: SingleObject, image: torch.Tensor, train_settings: Callable[..., TrainSettings]
) -> None:
    logits, boxes = outputs(single, image)
    losses = single(image[None], [example(image, 2)], train_settings(box_weight=7.0))
    wanted = torch.tensor([0.25, 0.25, 0.5, 0.5])  # x, y, width, height in shares
    class_loss = functional.cross_entropy(logits, torch.tensor([3]))
    box_loss = (boxes[0] - wanted).square().sum()
    torch.testing.assert_close(losses["class"], class_loss, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(losses["box"], box_loss, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(losses["total"], class_loss + 7 * box_loss, rtol=1e-4, atol=1e-4)


@torch.no_grad()
@pytest.mark.parametrize(
    ("ignore", "count", "label"),
    [
        ((False, False, False), 3, 2), ((False, False, True), 3, 3), ((False, True, True), 3, 1),
        ((False, False, False), 0, 0),
    ],
)  # fmt: skip
def test_the_largest_object_that_is_not_ignored_is_learnt(
    single: SingleObject,
    image: torch.Tensor,
    train_settings: Callable[..., TrainSettings],
    ignore: tuple[bool, ...],
    count: int,
    label: int,
) -> None:
    logits, _ = outputs(single, image)
    expected = functional.cross_entropy(logits, torch.tensor([label]))
    for order in (slice(None), torch.arange(count - 1, -1, -1)):
        losses = single(image[None], [example(image, count, ignore, order)], train_settings())
        torch.testing.assert_close(losses["class"], expected, rtol=1e-4, atol=1e-5)
        assert (losses["box"] > 0) == (label > 0)


def test_an_image_whose_objects_are_all_ignored_teaches_nothing(
    single: SingleObject, image: torch.Tensor, train_settings: Callable[..., TrainSettings]
) -> None:
    nothing, one = example(image, 3, (True, True, True)), example(image, 2)
    losses = single(image[None], [nothing], train_settings())
    assert losses["total"] == 0
    losses["total"].backward()
    assert all(p.grad is None or not p.grad.any() for p in single.parameters())
    single.zero_grad()
    with torch.no_grad():
        both = single(torch.stack([image, image]), [nothing, one], train_settings())
        alone = single(image[None], [one], train_settings())
    for part, value in alone.items():
        torch.testing.assert_close(both[part], value, rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_the_frame_is_the_images_own_in_a_batch_that_is_padded_further(
    single: SingleObject,
    image: torch.Tensor,
    train_settings: Callable[..., TrainSettings],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = []

    def outputs(images: torch.Tensor, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        seen.append(frames)
        return torch.zeros(2, 4), torch.tensor([[0.25, 0.25, 0.5, 0.5]]).expand(2, 4)

    monkeypatch.setattr(single, "outputs", outputs)
    other = torch.zeros(3, 128, 32)
    losses = single(torch.zeros(2, 3, 128, 96), [example(image, 2), example(other, 0)], train_settings())
    assert seen[0].tolist() == [[0, 0, 96, 64], [0, 0, 32, 128]]
    assert losses["box"] == 0


@torch.no_grad()
def test_the_one_box_is_in_pixels_and_every_class_has_it(single: SingleObject, image: torch.Tensor) -> None:
    scores, boxes = single.detect(image[None], torch.zeros(0, 4), 0)
    logits, shares = outputs(single, image)
    x, y, width, height = (shares[0] * torch.tensor([96.0, 64, 96, 64])).tolist()
    expected = torch.tensor([x, y, x + width, y + height]).expand(1, 3, 4)
    torch.testing.assert_close(boxes, expected, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(scores, logits.softmax(dim=1)[:, 1:], rtol=1e-4, atol=1e-5)


def test_training_starts_from_the_middle_of_the_image(
    new_network: Callable[..., DetectionNetwork], image: torch.Tensor
) -> None:
    with torch.inference_mode():
        _, boxes = new_network(name="single_object").eval().detect(image[None], torch.zeros(0, 4), 0)
    torch.testing.assert_close(boxes[0, 0], torch.tensor([24.0, 16, 72, 48]), rtol=0, atol=5)
