from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from detector.data.annotations import CocoDataset
from detector.model.network import DetectionNetwork
from detector.model.validation import validation
from detector.proposals.store import Proposals

TrainingSet = tuple[Path, CocoDataset, Proposals]


class Oracle(DetectionNetwork):
    """Returns the scores and boxes that a test gives it, image by image; boxes are in pixels of the resized image."""

    def __init__(self, answers: list[tuple[Tensor, Tensor]], *, batched: bool) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.answers, self.makes_proposals, self.asked = iter(answers), batched, 0

    def forward(self, *_: object) -> dict[str, Tensor]:
        raise AssertionError("a validation computes no loss")

    def detect(self, image: Tensor, proposals: Tensor, max_proposals: int) -> tuple[Tensor, Tensor]:
        assert not self.training and torch.is_inference_mode_enabled()
        assert len(proposals) <= max_proposals
        self.asked = max_proposals
        scores, boxes = next(self.answers)
        return (scores[None], boxes[None]) if self.makes_proposals else (scores, boxes)


def answers(truth: CocoDataset, image_size: int, wrong: int = 0) -> list[tuple[Tensor, Tensor]]:
    """Each truth with score .9; the first `wrong` images have a wrong label."""
    found = []
    for number, image in enumerate(truth.images):
        scores = torch.zeros(len(image.boxes), len(truth.classes))
        boxes = torch.from_numpy(image.boxes * (image_size / max(image.width, image.height)))
        for row, label in enumerate(image.labels):
            scores[row, (label + (number < wrong)) % len(truth.classes)] = 0.9
        found.append((scores, boxes[:, None].expand(-1, len(truth.classes), 4)))
    return found


@pytest.mark.parametrize("batched", [False, True])
def test_what_is_found_is_compared_in_the_resized_frame(training_set: TrainingSet, batched: bool) -> None:
    folder, truth, proposals = training_set
    measure = validation(folder, truth, proposals, 128)
    found = measure(Oracle(answers(truth, 128), batched=batched))
    assert (found.ap, found.ap_50) == (1.0, 1.0)
    half = measure(Oracle(answers(truth, 128, wrong=2), batched=batched))
    assert 0 < half.ap_50 < 1
    shifted = [(scores, boxes + torch.tensor([5.0, 0, 5, 0])) for scores, boxes in answers(truth, 128)]
    near = measure(Oracle(shifted, batched=batched))
    assert near.ap < near.ap_50 == 1.0


def test_the_network_is_in_its_mode_again_and_crops_are_few(training_set: TrainingSet) -> None:
    folder, truth, proposals = training_set
    measure = validation(folder, truth, proposals, 64)
    network = Oracle(answers(truth, 64), batched=False).train()
    measure(network)
    assert network.training and network.asked == 300
    crops = Oracle(answers(truth, 64), batched=False).eval()
    crops.batch = 64
    measure(crops)
    assert not crops.training and crops.asked == 50


def test_a_real_network_is_measured_the_same_twice(
    lively_network: Callable[..., DetectionNetwork], training_set: TrainingSet
) -> None:
    folder, truth, proposals = training_set
    measure = validation(folder, truth, proposals, 64)
    for name in ("fast_rcnn", "faster_rcnn", "cascade_rcnn", "single_object", "sliding_window", "rcnn"):
        network = lively_network(name=name)
        first = measure(network)
        assert first == measure(network) and 0 <= first.ap <= first.ap_50 <= 1
        assert np.isfinite(first.ap)
