"""Calibrates and measures an imported detector on images that somebody annotated, by the code of `evaluate`."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from detector.common.digests import sha256_of
from detector.common.errors import AnnotationError
from detector.data.annotations import CocoDataset, ImageInfo
from detector.data.formats.coco import read_coco
from detector.evaluation.measure_artifact import measure_artifact
from detector.runtime.artifact import MODEL_FILE, Artifact

# Detections below do not count for AP, and every score that is chosen is higher.
_LEAST_SCORE = 0.01


def measure(
    artifact: Artifact,
    folder: Path,
    annotations: Path,
    images: Path,
    workers: int,
    device: str,
    say: Callable[[str], None],
) -> tuple[Artifact, Path]:
    """Return the description with what was measured, and the first image of the set.

    One half of the images, chosen by the digests of their contents, decides calibration and scores; the other half is
    measured. folder: of model.onnx. Raises AnnotationError as `read_coco` does, if classes are not annotated, or if a
    half has no boxes.
    """
    split = read_coco(annotations, images)
    for notice in split.repairs.notices():
        say(f"notice: {notice.partition('; if it is')[0]}")  # without the advice about settings of `fetch`
    dataset = _with_classes(split.dataset, artifact.classes, annotations, say)
    val, test = _halves(dataset, split.files)
    for name, part in (("first", val), ("second", test)):
        part.require_boxes(f"{annotations}, the {name} half of its images")
    first = dataset.images[0].file_name
    root = split.files[first].parents[len(PurePosixPath(first).parts) - 1]
    draft = artifact.model_copy(update={"least_score": _LEAST_SCORE})
    measured = measure_artifact(draft, folder / MODEL_FILE, root, val, test, "measure", workers, device=device).artifact
    say(
        f"calibrated on {len(val.images)} images and measured on the other {len(test.images)} of {annotations}: "
        f"AP {measured.metrics['map_50_11point']:.3f} at IoU .5 (11-point), operating score "
        f"{measured.operating_score:g}"
    )
    return measured, split.files[first]


def _halves(dataset: CocoDataset, files: Mapping[str, Path]) -> tuple[CocoDataset, CocoDataset]:
    """Return two halves by the digests of the images: names and order do not matter, and equal images stay together."""
    digests = [sha256_of(files[image.file_name]) for image in dataset.images]
    middle = sorted(digests)[len(digests) // 2]
    first, second = (
        CocoDataset(
            dataset.classes,
            tuple(image for image, digest in zip(dataset.images, digests, strict=True) if (digest < middle) == below),
        )
        for below in (True, False)
    )
    return first, second


def _with_classes(
    dataset: CocoDataset, classes: tuple[str, ...], annotations: Path, say: Callable[[str], None]
) -> CocoDataset:
    """Return the dataset with the detector's classes as labels; boxes of other classes are left out and counted.

    Raises AnnotationError if it lacks a class of the detector, whose detections would all count as wrong.
    """
    if missing := [name for name in classes if name not in dataset.classes]:
        named = ", ".join(map(repr, missing[:5])) + (" and others" if missing[5:] else "")
        raise AnnotationError(
            f"{annotations}: has no category {named}, "
            f"which the detector has; its categories are {', '.join(dataset.classes[:30])}. Keep only the classes that "
            "are annotated, with their names, by --rename FILE"
        )
    label_of = np.array([classes.index(name) if name in classes else -1 for name in dataset.classes], np.int64)
    left_out = 0

    def relabelled(image: ImageInfo) -> ImageInfo:
        nonlocal left_out
        labels = label_of[image.labels]
        kept = labels >= 0
        left_out += int((~kept).sum())
        rows = {name: getattr(image, name)[kept] for name in ("boxes", "ignore", "crowd")}
        return dataclasses.replace(image, labels=labels[kept], **rows)

    images = tuple(relabelled(image) for image in dataset.images)
    if left_out:
        say(f"left out {left_out:,} annotated boxes of classes that the detector does not have")
    return CocoDataset(classes, images)
