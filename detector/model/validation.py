"""Measures a network on the validation split after each epoch of its training, which decides the epoch that is kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from detector.common.progress import progress
from detector.data.annotations import CocoDataset, ImageInfo
from detector.evaluation.average_precision import evaluate_voc
from detector.model.network import DetectionNetwork
from detector.model.training_images import Example, TrainingImages
from detector.proposals.store import Proposals
from detector.runtime.postprocess import Detections, postprocess

# What COCO averages over, and a decent fit.
_IOUS = tuple(float(iou) for iou in np.arange(50, 100, 5) / 100)
_DECENT = _IOUS[0]
# Proposals of an image at most. Networks that crop each proposal would need many times the training's time for more;
# the order of the epochs is the same, and the stage `evaluate` measures with all.
_MOST_PROPOSALS, _MOST_CROPS = 300, 50
# The middle of what `detect` has in the settings files; they change little between epochs.
_MIN_SCORE, _NMS_IOU, _MOST_DETECTIONS = 0.01, 0.4, 100


@dataclass(frozen=True)
class Figures:
    """Mean AP over the classes, 0 to 1. ap: the mean over the IoUs .5, .55, ..., .95; ap_50: at IoU .5; all-point."""

    ap: float
    ap_50: float


# A function that measures a network, in training mode before and after.
Validate = Callable[[DetectionNetwork], Figures]


def validation(folder: Path, truth: CocoDataset, proposals: Proposals, image_size: int) -> Validate:
    """Return a function that measures a network on the images of `truth` in `folder`.

    Images are resized as in use, and boxes are compared in the resized frame. image_size: pixels of the longer side.
    Detections come from torch, before calibration and with fewer proposals than in use, so that the figures are near
    those of the stage `evaluate` and not equal.
    """
    images = TrainingImages(folder, truth, proposals, _MOST_PROPOSALS, seed=0)

    def measure(network: DetectionNetwork) -> Figures:
        training = network.training
        network.eval()
        found, infos = {}, []
        for index, image in enumerate(progress(truth.images, len(truth.images), "measure on val")):
            example = images[index, image_size, 0]
            found[image.id] = _detect(network, example)
            infos.append(_resized(image, example))
        network.train(training)
        result = evaluate_voc(CocoDataset(truth.classes, tuple(infos), truth.category_ids), found, _IOUS)
        by_iou = [result.map_all_point(iou) for iou in _IOUS]
        return Figures(float(np.mean(by_iou)), by_iou[_IOUS.index(_DECENT)])

    return measure


def _detect(network: DetectionNetwork, example: Example) -> Detections:
    """Return the detections in one image, in its pixels."""
    device = next(network.parameters()).device
    most = _MOST_PROPOSALS if network.batch is None else _MOST_CROPS
    with torch.inference_mode():
        image = example.image[None].to(device, memory_format=torch.channels_last)
        scores, boxes = network.detect(image, example.proposals[:most].to(device), most)
    if network.makes_proposals:
        scores, boxes = scores[0], boxes[0]
    height, width = example.image.shape[1:]
    return postprocess(
        scores.float().cpu().numpy(),
        boxes.float().cpu().numpy(),
        scale=(1.0, 1.0),
        height=height,
        width=width,
        min_score=_MIN_SCORE,
        nms_threshold=_NMS_IOU,
        max_detections=_MOST_DETECTIONS,
    )


def _resized(image: ImageInfo, example: Example) -> ImageInfo:
    """Return the image's truths in the pixels of the resized image."""
    height, width = example.image.shape[1:]
    return ImageInfo(
        image.id, image.file_name, width, height, example.truth.numpy(), image.labels, image.ignore, image.crowd
    )
