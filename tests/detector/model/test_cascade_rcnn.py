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
        torch.nn.init.zeros_(head.deltas.weight)
        torch.nn.init.zeros_(head.deltas.bias)
    return network


def rois(*boxes: tuple[float, float, float, float]) -> torch.Tensor:
    return torch.tensor([[0.0, *box] for box in boxes])


def test_boxes_are_moved_twice_and_by_half_as_much_the_second_time(network: CascadeRCNN) -> None:
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        network.head.deltas.bias.copy_(SHIFT)
        network.second_head.deltas.bias.copy_(SHIFT)
        scores, boxes = network.classify(network.features(image), rois((8, 8, 28, 18), (40, 20, 60, 60)))
    assert scores.shape == (2, 3) and boxes.shape == (2, 3, 4)
    expected = torch.tensor([[8 + 10 + 5, 8, 28 + 10 + 5, 18], [40 + 10 + 5, 20, 60 + 10 + 5, 60]]).float()
    for label in range(3):
        torch.testing.assert_close(boxes[:, label], expected)


def test_a_score_is_the_mean_of_both_heads_and_the_second_sees_the_moved_box(network: CascadeRCNN) -> None:
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    first, moved = rois((8, 8, 28, 18)), rois((18, 8, 38, 18))
    with torch.no_grad():
        network.head.deltas.bias.copy_(SHIFT)
        features = network.features(image)
        scores, _ = network.classify(features, first)
        maps = network.read(features)
        parts = [
            network.regions(maps, where, head)[0].softmax(dim=1)[:, 1:]
            for where, head in ((first, network.head), (moved, network.second_head))
        ]
    torch.testing.assert_close(scores, (parts[0] + parts[1]) / 2)
    assert (parts[0] - parts[1]).abs().max() > 1e-4


def test_the_second_head_learns_from_what_the_first_one_made(
    network: CascadeRCNN, train_settings: Callable[..., TrainSettings]
) -> None:
    """The only proposal is too far from the object for either head; moved, it is the object."""
    truth = torch.tensor([[40.0, 8, 60, 18]])
    none = torch.zeros(1, dtype=torch.bool)
    image = torch.randn(3, 64, 96, generator=torch.Generator().manual_seed(0))
    proposals = [torch.tensor([[30.0, 8, 50, 18]])]
    settings = train_settings(regions=1)  # a quarter of it is no object: only the proposal is drawn
    example = Example(image, proposals[0], truth, torch.tensor([1]), none, none, 0)
    features = network.features(image[None])
    missed = network.region_losses(features, proposals, [example], settings)
    with torch.no_grad():
        network.head.deltas.bias.copy_(SHIFT)
        network.second_head.deltas.bias.fill_(1.0)  # wrong by one, now that there is an object
    found = network.region_losses(features, proposals, [example], settings)
    assert missed["second_box"] == 0 and missed["box"] == found["box"] == 0
    assert found["second_box"].item() == pytest.approx(4 * 0.5)
    assert found["total"].item() == pytest.approx(
        (found["class"] + 0.5 * (found["second_class"] + found["second_box"])).item()
    )
