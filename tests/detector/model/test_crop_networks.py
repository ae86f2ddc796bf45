"""R-CNN and its classifier on windows."""

from collections.abc import Callable

import pytest
import torch

from detector.model.deltas import decode
from detector.model.network import DetectionNetwork
from detector.model.rcnn import RCNN
from detector.model.sliding_window import SlidingWindow
from detector.model.warp import warp


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(2))


@pytest.fixture(scope="module")
def rcnn(lively_network: Callable[..., DetectionNetwork]) -> RCNN:
    return lively_network(name="rcnn")


@pytest.fixture(scope="module")
def windows(lively_network: Callable[..., DetectionNetwork]) -> SlidingWindow:
    return lively_network(name="sliding_window")


def test_a_proposal_is_classified_from_its_own_crop(
    rcnn: RCNN, image: torch.Tensor, random_boxes: Callable[..., torch.Tensor]
) -> None:
    proposals = random_boxes(6, 64, 96)
    with torch.inference_mode():
        scores, boxes = rcnn.detect(image, proposals, 1)
        vectors = rcnn.backbone(warp(image, [proposals], 32))[-1].mean(dim=(2, 3))
        logits, deltas = rcnn.head(vectors)
    odds = logits.exp()
    torch.testing.assert_close(scores, odds[:, 1:] / odds.sum(dim=1, keepdim=True), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(boxes, decode(proposals, deltas))
    assert scores.std() > 0.01


def test_each_part_of_the_proposals_gives_what_all_give(
    rcnn: RCNN, image: torch.Tensor, random_boxes: Callable[..., torch.Tensor]
) -> None:
    proposals = random_boxes(9, 64, 96)
    with torch.inference_mode():
        whole = rcnn.detect(image, proposals, 9)
        parts = [rcnn.detect(image, part, 9) for part in proposals.split(4)]
    for i in range(2):
        torch.testing.assert_close(whole[i], torch.cat([part[i] for part in parts]), rtol=1e-4, atol=1e-3)
    assert rcnn.batch == 64


def test_the_boxes_of_windows_are_the_windows(
    windows: SlidingWindow, image: torch.Tensor, random_boxes: Callable[..., torch.Tensor]
) -> None:
    proposals = random_boxes(6, 64, 96)
    with torch.inference_mode():
        scores, boxes = windows.detect(image, proposals, 1)
    assert torch.equal(boxes, proposals[:, None].repeat(1, 3, 1)) and scores.std() > 0.01
    assert not [name for name, _ in windows.named_parameters() if "delta" in name]


@pytest.mark.parametrize("name", ["rcnn", "sliding_window"])
def test_every_parameter_learns(
    new_network: Callable[..., DetectionNetwork],
    image: torch.Tensor,
    random_boxes: Callable[..., torch.Tensor],
    name: str,
) -> None:
    network = new_network(name=name)
    vectors = network.vectors(image, [random_boxes(4, 64, 96)])
    outputs = network.head(vectors) if name == "rcnn" else [network.classes(vectors)]
    sum(output.square().sum() for output in outputs).backward()
    assert [name for name, p in network.named_parameters() if p.grad is None] == []


def test_svms_are_not_trained_by_gradients_and_score_nothing_before_they_are_fitted(
    new_network: Callable[..., DetectionNetwork], image: torch.Tensor, random_boxes: Callable[..., torch.Tensor]
) -> None:
    network = new_network(name="rcnn", head="svm").eval()
    assert not any(p.requires_grad for p in network.svm.parameters())
    proposals = random_boxes(5, 64, 96)
    with torch.inference_mode():
        scores, boxes = network.detect(image, proposals, 5)
    assert scores.max() < 1e-9
    torch.testing.assert_close(boxes, proposals[:, None].repeat(1, 3, 1))
