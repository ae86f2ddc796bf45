"""The second head looks at the boxes of the first one."""

from collections.abc import Callable

import pytest
import torch

from detector.model.cascade_rcnn import CascadeRCNN
from detector.model.network import DetectionNetwork
from detector.model.training_images import Example
from detector.params import TrainSettings

SHIFT = torch.tensor([5.0, 0.0, 0.0, 0.0])  # delta of half a width to the right, by the weights of the deltas


@pytest.fixture
def network(lively_network: Callable[..., DetectionNetwork]) -> CascadeRCNN:
    network = lively_network(name="cascade_rcnn")
    assert isinstance(network, CascadeRCNN)
    for head in (network.head, network.second_head):
        torch.nn.init.zeros_(head.shared_box.weight)
        torch.nn.init.zeros_(head.shared_box.bias)
    return network


def rois(*boxes: tuple[float, float, float, float]) -> torch.Tensor:
    return torch.tensor([[0.0, *box] for box in boxes])


def test_boxes_are_moved_twice(network: CascadeRCNN) -> None:
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.head.shared_box.bias.copy_(SHIFT)
        network.second_head.shared_box.bias.copy_(SHIFT)
        scores, boxes = network.classify(network.features(image), rois((8, 8, 28, 18), (40, 20, 60, 60)))
    assert scores.shape == (2, 3) and boxes.shape == (2, 3, 4)
    expected = torch.tensor([[8 + 10 + 10, 8, 28 + 10 + 10, 18], [40 + 10 + 10, 20, 60 + 10 + 10, 60]]).float()
    for label in range(3):
        torch.testing.assert_close(boxes[:, label], expected)


def test_a_score_is_the_mean_of_both_heads_and_the_second_sees_the_moved_box(network: CascadeRCNN) -> None:
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    first, moved = rois((8, 8, 28, 18)), rois((18, 8, 38, 18))
    with torch.no_grad():
        network.head.shared_box.bias.copy_(SHIFT)
        features = network.features(image)
        scores, _ = network.classify(features, first)
        maps = network.region_maps(features)
        parts = [
            network.regions(maps, where, head)[0].softmax(dim=1)[:, 1:]
            for where, head in ((first, network.head), (moved, network.second_head))
        ]
    torch.testing.assert_close(scores, (parts[0] + parts[1]) / 2)
    assert (parts[0] - parts[1]).abs().max() > 1e-4


# The only proposal, which is drawn as background: a quarter of one region is no object.
PROPOSALS = [torch.tensor([[30.0, 8, 50, 18]])]


def losses(network: CascadeRCNN, settings: TrainSettings, left: float, *, ignored: bool = False) -> dict[str, float]:
    """The losses if the object's left edge is here, and the first head moves the proposal to 40."""
    truth = torch.tensor([[left, 8.0, left + 20, 18]])
    ignore, crowd = torch.tensor([ignored]), torch.tensor([False])
    image = torch.randn(3, 64, 96, generator=torch.Generator().manual_seed(0))
    example = Example(image, PROPOSALS[0], truth, torch.tensor([1]), ignore, crowd, 0)
    with torch.no_grad():
        network.head.shared_box.bias.copy_(SHIFT)
        found = network.region_losses(network.features(image[None]), PROPOSALS, [example], settings)
    return {name: value.item() for name, value in found.items()}


def test_the_second_head_learns_from_what_the_first_one_made(
    network: CascadeRCNN, train_settings: Callable[..., TrainSettings]
) -> None:
    """A moved box that is off by a twentieth of its width has a delta of .5."""
    found = losses(network, train_settings(regions=1), 41)
    assert found["box"] == 0 and found["second_box"] == pytest.approx(0.5 - 0.05, rel=1e-4)
    parts = found["class"] + found["second_class"] + found["second_box"]
    assert found["total"] == pytest.approx(parts, rel=1e-5)


@pytest.mark.parametrize(("left", "learnt"), [(44.5, True), (45.5, False)])  # IoUs of .63 and .57 with the moved box
def test_a_moved_box_is_an_object_from_iou_6_on(
    network: CascadeRCNN, train_settings: Callable[..., TrainSettings], left: float, learnt: bool
) -> None:
    assert (losses(network, train_settings(regions=1), left)["second_box"] > 0) == learnt


def test_a_moved_box_on_an_ignored_object_is_not_learnt(
    network: CascadeRCNN, train_settings: Callable[..., TrainSettings]
) -> None:
    found = losses(network, train_settings(regions=1), 40, ignored=True)
    assert found["class"] > 0 and found["second_class"] == found["second_box"] == 0
