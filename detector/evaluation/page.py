"""Makes evaluation.html: the figures of a test split and their meanings, and images of the worst mistakes."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detector.common.pages import Curve, Figure, Group, Row, curve, render_template, rows, thumbnail
from detector.data.annotations import CocoDataset, ImageInfo
from detector.evaluation.average_precision import IOU_THRESHOLDS, VocResult
from detector.evaluation.detections import DetectionSet, no_detections
from detector.evaluation.doubts import KINDS as DOUBTS
from detector.evaluation.doubts import find_doubts
from detector.evaluation.figures import Figures
from detector.evaluation.labels_page import DOUBT_GROUPS, doubt_figure
from detector.evaluation.mistakes import KINDS, TOUCHED, FalsePositive, Miss, find_mistakes
from detector.evaluation.plots import precision_recall_rows
from detector.evaluation.proposal_recall import RecallPoint
from detector.runtime.geometry.boxes import iou

FALSE_POSITIVES, MISSES = 30, 30
# Labels in doubt: at most this number of a kind, and only those that are probably wrong by the detector's calibrated
# scores.
DOUBTS_A_KIND, LEAST_DOUBT = 10, 0.5
IMAGE_BYTES = 3_000_000
GROUPS = (
    Group("wrong", "false positives"),
    *(Group(kind, f"false positives: {kind}") for kind in KINDS),
    Group("missed", "misses"),
    *DOUBT_GROUPS,
)
Pixels = NDArray[np.uint8]


@dataclass(frozen=True)
class Headline:
    """One figure, its value as text, and what it means."""

    name: str
    value: str
    meaning: str


_MEANINGS = (
    ("map_50_11point", "mAP, IoU .5", "average precision by VOC 2007's 11-point rule, mean over the classes"),
    ("map_70_11point", "mAP, IoU .7", "the same for boxes that fit well"),
    ("coco_ap", "COCO AP", "mean over the classes and over IoU .5, .55, … .95"),
    ("coco_ar_100", "COCO AR", "recall with 100 detections per image, over the same IoUs"),
    ("localisation_accuracy", "Main object", "images whose best detection is their main object"),
    (
        "proposal_recall_50",
        "Proposal recall",
        "objects that a proposal overlaps with IoU .5; no detector can find the others",
    ),
)


def evaluation_page(
    truth: CocoDataset,
    detections: DetectionSet,
    voc: VocResult,
    metrics: Mapping[str, float],
    score: float,
    recall: Sequence[RecallPoint],
    read: Callable[[ImageInfo], Pixels],
) -> bytes:
    """Return the page of one split as HTML in UTF-8.

    score: detections below it appear in the curves only, and never as mistakes. recall: the recall of the proposals by
    their number; empty if the detector makes its own. read: returns an image's pixels, uint8 RGB (H, W, 3).
    """
    mistakes = find_mistakes(truth, detections, score)
    wrong, missed = mistakes.false_positives[:FALSE_POSITIVES], mistakes.misses[:MISSES]
    doubted = [doubt for doubt in find_doubts(truth, detections) if doubt.suspicion >= LEAST_DOUBT]
    doubts = [doubt for kind in DOUBTS for doubt in [own for own in doubted if own.kind == kind][:DOUBTS_A_KIND]]
    budget = IMAGE_BYTES // (FALSE_POSITIVES + MISSES + DOUBTS_A_KIND * len(DOUBTS))
    numbers = sorted({item.image for items in (wrong, missed, doubts) for item in items})
    thumbnails = {i: thumbnail(read(truth.images[i]), budget) for i in numbers}
    gallery = Figures(truth, detections, score, thumbnails)
    draw = _Mistakes(truth, detections, score, gallery)
    figures = [draw.wrong(item) for item in wrong] + [draw.missed(item) for item in missed]
    figures += [doubt_figure(gallery, truth, detections, doubt) for doubt in doubts]
    used = {box.label for figure in figures for box in figure.boxes}
    groups = {group for figure in figures for group in figure.groups}
    return render_template(
        "detector.evaluation",
        "evaluation.html",
        images=len(truth.images),
        objects=mistakes.found + len(mistakes.misses),
        score=score,
        headlines=[Headline(name, _number(metrics[key]), text) for key, name, text in _MEANINGS if key in metrics],
        metrics={name: _number(value) for name, value in metrics.items()},
        classes=_class_rows(voc),
        curves=_precision_recall(voc),
        recall=_recall_curves(recall),
        most_proposals=recall[-1]["proposals"] if recall else 0,
        meanings=KINDS,
        doubts=DOUBTS,
        kinds=_kind_rows(mistakes.false_positives),
        mistakes=mistakes,
        figures=figures,
        groups=[group for group in GROUPS if group.name in groups],
        labels=[name for name in truth.classes if name in used],
    )


class _Mistakes:
    """Makes the figures of mistakes: each shows the marked mistake with the truths and the confident detections."""

    def __init__(self, truth: CocoDataset, detections: DetectionSet, score: float, figures: Figures) -> None:
        self._truth, self._detections, self._score, self._figures = truth, detections, score, figures

    def wrong(self, item: FalsePositive) -> Figure:
        name = self._truth.classes[item.label]
        note = f"{name} {item.score:.2f}: {item.kind}"
        if item.confused is not None:
            note += f" with {self._truth.classes[item.confused]}"
        if item.kind != "background":
            note += f", IoU {item.overlap:.2f}"
        return self._figures.figure(item.image, ["wrong", item.kind], note, detection=item.detection)

    def missed(self, item: Miss) -> Figure:
        note = f"{self._truth.classes[item.label]} missed, {100 * item.share:.0f} % of the image"
        return self._figures.figure(item.image, ["missed"], f"{note}: {self._instead(item)}", truth=item.truth)

    def _instead(self, item: Miss) -> str:
        """Say what the detector found in the place of a truth."""
        info = self._truth.images[item.image]
        found = self._detections.get(info.id, no_detections())
        kept = np.flatnonzero(found.scores >= self._score)
        if not len(kept):
            return "nothing was found"
        overlaps = iou(info.boxes[item.truth : item.truth + 1], found.boxes[kept])[0]  # (K,)
        best = int(overlaps.argmax())
        index = int(kept[best])
        if overlaps[best] < TOUCHED:
            return "nothing was found there"
        return (
            f"{self._truth.classes[found.labels[index]]} {found.scores[index]:.2f} is there, IoU {overlaps[best]:.2f}"
        )


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _class_rows(voc: VocResult) -> list[Row]:
    """Return one row for each class with objects, best first."""
    first = [result for result in voc.by_iou[IOU_THRESHOLDS[0]] if result.truths]
    first.sort(key=lambda result: -result.ap_11point)
    at = {iou: {result.name: result for result in results} for iou, results in voc.by_iou.items()}
    return rows(
        [result.name for result in first],
        [result.ap_11point for result in first],
        None,
        [
            (f"{result.truths:,}", *(_number(at[iou][result.name].ap_11point) for iou in IOU_THRESHOLDS))
            for result in first
        ],
        top=1.0,
    )


def _precision_recall(voc: VocResult) -> list[Curve]:
    """Return one curve for each class with objects, best first."""
    results = [result for result in voc.by_iou[IOU_THRESHOLDS[0]] if result.truths]
    points: dict[str, list[tuple[float, float]]] = {}
    for row in precision_recall_rows(results):
        # The first detection alone has some recall; the curve is drawn from recall 0.
        points.setdefault(row["label"], [(0.0, row["precision"])]).append((row["recall"], row["precision"]))
    results.sort(key=lambda result: -result.ap_11point)
    return [
        curve(
            result.name,
            points.get(result.name, []),
            (_number(result.ap_11point), f"average precision {_number(result.ap_11point)}, {result.truths:,} objects"),
        )
        for result in results
    ]


def _recall_curves(recall: Sequence[RecallPoint]) -> list[Curve]:
    """Return curves of recall over the logarithm of the number of proposals."""
    if not recall:
        return []
    measures: tuple[tuple[str, Callable[[RecallPoint], float]], ...] = (
        ("recall, IoU .5", lambda point: point["recall_50"]),
        ("recall, IoU .7", lambda point: point["recall_70"]),
        ("best overlap (MABO)", lambda point: point["mabo"]),
    )
    span = math.log(max(2, recall[-1]["proposals"]))
    return [
        curve(
            name,
            [(math.log(point["proposals"]) / span, value(point)) for point in recall],
            (
                _number(value(recall[-1])),
                "; ".join(f"{point['proposals']:,} proposals {_number(value(point))}" for point in recall),
            ),
        )
        for name, value in measures
    ]


def _kind_rows(wrong: Sequence[FalsePositive]) -> list[Row]:
    counts = Counter(item.kind for item in wrong)
    return rows(
        list(KINDS),
        [counts[kind] for kind in KINDS],
        None,
        [(f"{counts[kind]:,}", f"{100 * counts[kind] / len(wrong):.0f} %" if wrong else "–") for kind in KINDS],
    )
