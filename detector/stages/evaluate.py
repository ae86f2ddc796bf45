"""Stage `evaluate`: the trained network on the test split."""

from __future__ import annotations

import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from detector.data.annotations import CocoDataset, ImageInfo, load_coco
from detector.data.expectations import judge_inputs, require
from detector.evaluation.average_precision import IOU_THRESHOLDS, VocResult, operating_score
from detector.evaluation.detections import save_results
from detector.evaluation.page import evaluation_page
from detector.evaluation.plots import Example, draw_grid, precision_recall_rows
from detector.evaluation.proposal_recall import RecallPoint, proposal_recall, recall_curve
from detector.model.device import make_deterministic
from detector.model.network import DetectionNetwork
from detector.model.trained import load_trained
from detector.params import EvaluateSettings, ProposeSettings
from detector.proposals import METHODS, Method, find_proposals
from detector.proposals.store import Proposals, load_proposals
from detector.runtime.images import decode_image, normalise, resize
from detector.runtime.postprocess import Detections, postprocess
from detector.stages.measure import detect_all, figures
from detector.stages.metrics_file import write_json

# Enough for a median; the search itself ran in `propose`.
_TIMED_SEARCHES = 32
_GRID_PICTURES = 12


@dataclass
class _TorchDetector:
    """The network as a function of an image, in float32 on the CPU; notes its times. The exported graph differs: its
    weights are rounded to half precision, and its scores are calibrated."""

    network: DetectionNetwork
    image_size: int
    settings: EvaluateSettings
    proposals: Proposals
    network_seconds: list[float] = field(default_factory=list)
    postprocess_seconds: list[float] = field(default_factory=list)

    def _detect(self, image: torch.Tensor, proposals: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As the predictor does: in the network's batches."""
        parts = proposals.split(self.network.batch) if self.network.batch and len(proposals) else [proposals]
        found = [self.network.detect(image, part, self.settings.max_proposals) for part in parts]
        return torch.cat([scores for scores, _ in found]), torch.cat([boxes for _, boxes in found])

    def __call__(self, index: int, pixels: NDArray[np.uint8]) -> Detections:
        resized = resize(pixels, self.image_size)
        scale = np.array([resized.scale_x, resized.scale_y] * 2, np.float32)
        boxes = torch.from_numpy(self.proposals[index][: self.settings.max_proposals] * scale)
        image = torch.from_numpy(normalise(resized.pixels))[None]
        start = time.perf_counter()
        with torch.inference_mode():
            scores, refined = self._detect(image.contiguous(memory_format=torch.channels_last), boxes)
        ran = time.perf_counter()
        detections = postprocess(
            scores.numpy(),
            refined.numpy(),
            scale=(resized.scale_x, resized.scale_y),
            height=pixels.shape[0],
            width=pixels.shape[1],
            min_score=self.settings.min_score,
            nms_threshold=self.settings.nms_threshold,
            max_detections=self.settings.max_detections,
        )
        self.network_seconds.append(ran - start)
        self.postprocess_seconds.append(time.perf_counter() - ran)
        return detections


def _search_seconds(
    folder: Path, truth: CocoDataset, method: Method, max_boxes: int, settings: ProposeSettings
) -> list[float]:
    seconds = []
    for image in truth.images[:_TIMED_SEARCHES]:
        pixels = decode_image((folder / image.file_name).read_bytes())
        start = time.perf_counter()
        find_proposals(pixels, method, max_boxes, settings.mode)
        seconds.append(time.perf_counter() - start)
    return seconds[1:] or seconds  # the first call loads the compiled code


def _class_rows(voc: VocResult) -> list[dict[str, object]]:
    rows = []
    for label, result in enumerate(voc.by_iou[IOU_THRESHOLDS[0]]):
        row: dict[str, object] = {"class": result.name, "objects": result.truths}
        for iou in IOU_THRESHOLDS:
            at = voc.by_iou[iou][label]
            row[f"ap_{iou * 100:.0f}_11point"] = at.ap_11point
            row[f"ap_{iou * 100:.0f}_all_point"] = at.ap_all_point
        rows.append(row)
    return rows


def _confident(found: Detections, min_score: float) -> Detections:
    kept = found.scores >= min_score
    return Detections(found.boxes[kept], found.scores[kept], found.labels[kept])


def run(
    settings: EvaluateSettings, search: ProposeSettings, dataset: Path, proposals: Path, weights: Path, out: Path
) -> None:
    """Score `dataset/test.json` with the network in `weights`; search: what made `proposals`.

    Writes to `out`: metrics.json (AP, proposal recall), timing.json (median seconds an image), classes.json (AP a
    class), precision_recall.json (curves at IoU .5), detections.json (COCO results), grid.png,
    evaluation.html (all that and the worst mistakes, for a browser).
    """
    truth = load_coco(dataset / "test.json")
    stored = load_proposals(proposals / "test.npz", len(truth.images))
    require(judge_inputs(truth, stored), "Run the stages `fetch` and `propose` again")
    make_deterministic(seed=0)  # nothing is drawn; the sums shall be the same again
    network, model, _ = load_trained(weights)
    detect = _TorchDetector(network, model.image_size, settings, stored)
    images = dataset / "images"
    found = detect_all(detect, images, truth, "evaluate, test")

    metrics, voc = figures(truth, found)
    seconds = {"network": detect.network_seconds, "postprocess": detect.postprocess_seconds}
    method = METHODS[model.name]
    curve: list[RecallPoint] = []
    if method:
        by_id = {image.id: stored[index] for index, image in enumerate(truth.images)}
        budget = settings.max_proposals
        recall = proposal_recall(truth, by_id, budgets=(budget,))
        metrics["proposal_recall_50"] = recall.recall[budget][0.5]
        metrics["proposal_mabo"] = recall.mabo[budget]
        curve = recall_curve(truth, by_id, budget)
        seconds["proposals"] = _search_seconds(images, truth, method, budget, search)
    write_json(out / "metrics.json", metrics)
    write_json(out / "timing.json", {f"seconds_{name}": statistics.median(s) for name, s in seconds.items()})
    write_json(out / "classes.json", _class_rows(voc))
    write_json(out / "precision_recall.json", precision_recall_rows(voc.by_iou[IOU_THRESHOLDS[0]]))
    save_results(found, truth, out / "detections.json")
    # The grid shows what a user of the detector would see, not the long tail that measuring AP needs.
    shown = operating_score(truth, found)

    def read(image: ImageInfo) -> NDArray[np.uint8]:
        return decode_image((images / image.file_name).read_bytes())

    examples = [
        Example(read(image), image, _confident(found[image.id], shown)) for image in truth.images[:_GRID_PICTURES]
    ]
    draw_grid(examples, truth.classes).save(out / "grid.png")
    page = evaluation_page(truth, found, voc, metrics, shown, curve, read)
    (out / "evaluation.html").write_bytes(page)
