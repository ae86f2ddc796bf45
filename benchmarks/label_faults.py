"""Find planted faults in labels: AUROC of the ranking by kind, beside cleanlab's ObjectLab on the same detections.

    python -m benchmarks.label_faults

Of the annotated boxes, 5 % are removed, 5 % get another class, and 5 % are moved or resized. The detector is one
that has not learnt from the split. An image counts with its most suspicious annotation of each kind; the positives of a
kind are the images with a planted fault of it, and the negatives those without any. cleanlab (AGPL, so that it is no
dependency) is compared if it is installed. VOC's own faults are among the negatives, for both sides alike.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from detector.common.tables import markdown_table
from detector.data.annotations import CocoDataset, ImageInfo, load_coco
from detector.evaluation.doubts import KINDS, Kind, find_doubts
from detector.runtime.detector import open_detector
from detector.runtime.geometry.boxes import area, clip, iou
from detector.runtime.postprocess import Detections
from detector.runtime.shipped import SHIPPED
from detector.stages import layout
from detector.stages.check_labels import find

SHARE = 0.05
# A misplaced box overlaps the true one by an IoU in this range.
_MISPLACED = (0.2, 0.6)
Scores = dict[Kind, NDArray[np.float64]]  # of each image, the higher the more suspicious


def plant(truth: CocoDataset, seed: int) -> tuple[CocoDataset, dict[Kind, set[int]]]:
    """Return the dataset with faults, and the indices of the images with a fault of each kind."""
    random = np.random.default_rng(seed)
    faulty: dict[Kind, set[int]] = {kind: set() for kind in KINDS}
    images = []
    for number, image in enumerate(truth.images):
        drawn = random.random(len(image.boxes))
        drawn[image.ignore | image.crowd] = 1.0
        boxes, labels = image.boxes.copy(), image.labels.copy()
        for index in np.flatnonzero((drawn >= SHARE) & (drawn < 2 * SHARE)):
            labels[index] = (labels[index] + random.integers(1, len(truth.classes))) % len(truth.classes)
            faulty["swapped"].add(number)
        for index in np.flatnonzero((drawn >= 2 * SHARE) & (drawn < 3 * SHARE)):
            boxes[index] = _moved(image, int(index), random)
            faulty["misplaced"].add(number)
        kept = drawn >= SHARE
        if not kept.all():
            faulty["overlooked"].add(number)
        ignore, crowd = image.ignore[kept], image.crowd[kept]
        images.append(replace(image, boxes=boxes[kept], labels=labels[kept], ignore=ignore, crowd=crowd))
    return CocoDataset(truth.classes, tuple(images), truth.category_ids), faulty


def _moved(image: ImageInfo, index: int, random: np.random.Generator) -> NDArray[np.float32]:
    """Return the box with edges moved at random, so that it overlaps itself by some IoU of _MISPLACED."""
    box = image.boxes[index : index + 1]
    size = np.tile(box[0, 2:] - box[0, :2], 2)
    for _ in range(10_000):
        edges = box[0] + random.normal(0, 0.35, 4) * size
        other = clip(np.sort(edges.reshape(2, 2), axis=0).reshape(1, 4).astype(np.float32), image.height, image.width)
        if area(other)[0] > 0 and _MISPLACED[0] <= iou(other, box)[0, 0] <= _MISPLACED[1]:
            return np.asarray(other[0])
    raise RuntimeError(f"no other box near {box[0].tolist()}")


def ours(truth: CocoDataset, found: Mapping[int, Detections]) -> Scores:
    """Return the greatest doubt of each kind in each image."""
    scores: Scores = {kind: np.zeros(len(truth.images)) for kind in KINDS}
    for doubt in find_doubts(truth, found):
        scores[doubt.kind][doubt.image] = max(scores[doubt.kind][doubt.image], doubt.suspicion)
    return scores


def cleanlabs(truth: CocoDataset, found: Mapping[int, Detections], **options: float) -> Scores:
    """Return cleanlab's scores of the same, turned so that a higher one is more suspicious.

    options: high_probability_threshold, from which on its rankings look at a detection; .95 unless given.
    """
    from cleanlab.object_detection import rank

    labels = [{"bboxes": image.boxes, "labels": image.labels} for image in truth.images]
    predictions: list[Any] = []
    for image in truth.images:
        own = found[image.id]
        rows = np.column_stack([own.boxes, own.scores]).reshape(-1, 5)
        by_class = np.empty(len(truth.classes), object)
        for label in range(len(truth.classes)):
            by_class[label] = rows[own.labels == label]
        predictions.append(by_class)
    boxes = {
        "overlooked": rank.compute_overlooked_box_scores(labels=labels, predictions=predictions, **options),
        "swapped": rank.compute_swap_box_scores(labels=labels, predictions=predictions, **options),
        "misplaced": rank.compute_badloc_box_scores(labels=labels, predictions=predictions),
    }
    return {kind: 1 - np.asarray(rank.pool_box_scores_per_image(boxes[kind])) for kind in KINDS}


def aurocs(scores: Scores, faulty: Mapping[Kind, set[int]]) -> list[float]:
    """Return the AUROC of each kind; NaN if all images have a fault of it, or none has."""
    any_fault = set().union(*faulty.values())
    values = []
    for kind in KINDS:
        chosen = [n for n in range(len(scores[kind])) if n in faulty[kind] or n not in any_fault]
        positive = [n in faulty[kind] for n in chosen]
        both = 0 < sum(positive) < len(positive)
        values.append(float(roc_auc_score(positive, scores[kind][chosen])) if both else float("nan"))
    return values


@click.command()
@click.option("--artifact", type=click.Path(path_type=Path), default=SHIPPED, help="The detector; default: voc20.")
@click.option("--dataset", type=click.Path(path_type=Path), default=layout.DATASET, show_default=True)
@click.option("--split", default="test", show_default=True)
@click.option("--draws", default=5, show_default=True, help="Seeds of the planted faults.")
def main(artifact: Path, dataset: Path, split: str, draws: int) -> None:
    """Print a table: AUROC by kind, mean over the draws."""
    truth = load_coco(dataset / f"{split}.json")
    found = find(open_detector(artifact, "cpu"), dataset / "images", truth, split, min_score=0.01, workers=1)
    sides: dict[str, Callable[[CocoDataset, Mapping[int, Detections]], Scores]] = {"ours": ours}
    try:
        import cleanlab  # noqa: F401

        sides["cleanlab"] = cleanlabs
        # Calibrated scores are seldom above its threshold of .95.
        sides["cleanlab, from scores of .5 on"] = partial(cleanlabs, high_probability_threshold=0.5)
    except ModuleNotFoundError:
        print("cleanlab is not installed: only our own figures follow")
    values: dict[str, list[list[float]]] = {name: [] for name in sides}
    for seed in range(draws):
        faults, faulty = plant(truth, seed)
        for name, side in sides.items():
            values[name].append(aurocs(side(faults, found), faulty))
    rows = [[name, *(f"{mean:.3f}" for mean in np.mean(own, axis=0))] for name, own in values.items()]
    print(f"{len(truth.images)} images of {split}, {draws} draws of 5 % faults of each kind; AUROC by image")
    print(markdown_table(["ranking", *KINDS], rows))


if __name__ == "__main__":
    main()
