from collections.abc import Callable

import pytest
import torch

from detector.model.deltas import decode
from detector.model.family import build
from detector.model.fast_rcnn import FastRCNN
from detector.model.roi_pool import numbered
from detector.params import ModelSettings


@pytest.fixture(scope="module")
def images() -> torch.Tensor:
    return torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(2))


def outputs(
    network: FastRCNN, images: torch.Tensor, proposals: list[torch.Tensor]
) -> tuple[torch.Tensor, torch.Tensor]:
    return network.regions(network.region_maps(network.features(images)), numbered(proposals), network.head)


def test_a_batch_gives_what_each_image_gives_alone(
    network: FastRCNN, images: torch.Tensor, random_boxes: Callable[..., torch.Tensor]
) -> None:
    proposals = [random_boxes(5, 64, 96, seed=1), random_boxes(3, 64, 96, seed=2)]
    with torch.inference_mode():
        logits, deltas = outputs(network, images, proposals)
        alone = [outputs(network, images[i : i + 1], [proposals[i]]) for i in range(2)]
    assert logits.shape == (8, 4) and deltas.shape == (8, 3, 4)
    assert logits.std() > 0.1 and deltas.std() > 0.1
    torch.testing.assert_close(logits, torch.cat([a[0] for a in alone]), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(deltas, torch.cat([a[1] for a in alone]), rtol=1e-4, atol=1e-4)


def test_an_image_without_proposals_may_stand_in_a_batch(
    network: FastRCNN, images: torch.Tensor, random_boxes: Callable[..., torch.Tensor]
) -> None:
    boxes = random_boxes(3, 64, 96)
    with torch.inference_mode():
        logits, _ = outputs(network, images, [torch.zeros(0, 4), boxes])
        expected, _ = outputs(network, images[1:], [boxes])
    torch.testing.assert_close(logits, expected, rtol=1e-4, atol=1e-4)


def test_detections_are_probabilities_without_background_and_decoded_boxes(
    network: FastRCNN, images: torch.Tensor, random_boxes: Callable[..., torch.Tensor]
) -> None:
    proposals = random_boxes(6, 64, 96)
    with torch.inference_mode():
        scores, boxes = network.detect(images[:1], proposals, 6)
        logits, deltas = outputs(network, images[:1], [proposals])
    assert scores.shape == (6, 3) and boxes.shape == (6, 3, 4)
    odds = logits.exp()
    torch.testing.assert_close(scores, odds[:, 1:] / odds.sum(dim=1, keepdim=True))
    torch.testing.assert_close(boxes, decode(proposals, deltas))


def test_no_proposals_give_no_detections(network: FastRCNN, images: torch.Tensor) -> None:
    with torch.inference_mode():
        scores, boxes = network.detect(images[:1], torch.zeros(0, 4), 6)
    assert scores.shape == (0, 3) and boxes.shape == (0, 3, 4)


def test_every_parameter_learns(
    new_network: Callable[..., FastRCNN], images: torch.Tensor, random_boxes: Callable[..., torch.Tensor]
) -> None:
    network = new_network()
    large = torch.tensor([[0.0, 0, 300, 300], [0, 0, 800, 700]])  # read from the coarser levels
    logits, deltas = outputs(network, images[:1], [torch.cat([random_boxes(4, 64, 96), large])])
    (logits.square().sum() + deltas.square().sum()).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert without == []


def test_the_family_builds_by_name(model_settings: Callable[..., ModelSettings]) -> None:
    network = build(model_settings(start_from="no/such/file", hidden=24), 7, weights="none")
    assert network.head.classes.out_features == 8 and network.head.deltas.in_features == 24
