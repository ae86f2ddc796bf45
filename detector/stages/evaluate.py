"""Stage `evaluate`: exports the trained network as the graph that ships, calibrates it on val and measures it on test.

Every figure of this project's detectors comes from this stage. The graph runs in the same runtime as in the batch job.
Thresholds and calibration are chosen on val; the test split is only measured.
"""

from __future__ import annotations

import statistics
from dataclasses import asdict
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detector.common.digests import sha256_of
from detector.data.annotations import CocoDataset, ImageInfo, load_coco
from detector.data.expectations import judge_inputs, require
from detector.evaluation import calibration
from detector.evaluation.average_precision import IOU_THRESHOLDS, VocResult
from detector.evaluation.detections import DetectionSet, save_results
from detector.evaluation.measure_artifact import measure_artifact
from detector.evaluation.page import evaluation_page
from detector.evaluation.plots import Example, draw_grid, precision_recall_rows
from detector.evaluation.proposal_recall import RecallPoint, proposal_recall, recall_curve
from detector.evaluation.reliability_plot import draw_reliability
from detector.export.onnx_export import export_onnx
from detector.model.device import make_deterministic
from detector.model.network import DetectionNetwork
from detector.model.trained import load_trained
from detector.params import DetectSettings, ModelSettings, ProposeSettings
from detector.proposals import METHODS
from detector.proposals.store import load_proposals
from detector.runtime.artifact import MODEL_FILE, Artifact, save_artifact
from detector.runtime.images import decode_image
from detector.runtime.kinds.rcnn import ProposalSettings, RcnnDecoding
from detector.runtime.postprocess import Detections
from detector.runtime.preprocess import own_preprocessing
from detector.stages.layout import DRAFT_FILE
from detector.stages.metrics_file import write_json

_GRID_IMAGES = 12


def run(
    settings: DetectSettings,
    search: ProposeSettings,
    dataset: Path,
    proposals: Path,
    weights: Path,
    out: Path,
    workers: int = 1,
    device: str = "cpu",
) -> None:
    """Export the network in `weights`, calibrate it on val, and measure the graph on test, in `workers` threads on
    `device`.

    search: the settings that made `proposals`. Writes to `out`: model.onnx and draft.json (the artifact without its
    origin), metrics.json (AP, proposal recall, calibration), timing.json (median seconds per image), classes.json (AP
    of each class), precision_recall.json (curves at IoU .5), reliability.json and reliability.png (the calibration of
    the scores), detections.json (COCO results), grid.png and evaluation.html (all figures and the worst mistakes).
    """
    val, test = load_coco(dataset / "val.json"), load_coco(dataset / "test.json")
    stored = load_proposals(proposals / "test.npz", len(test.images))
    require(judge_inputs(test, stored), "Run the stages `fetch` and `propose` again")
    make_deterministic(seed=0)  # nothing is random, but the exporter's sums must be repeatable
    network, making = load_trained(weights)
    model = ModelSettings.model_validate(making.settings["model"])
    out.mkdir(parents=True, exist_ok=True)
    graph, images = out / MODEL_FILE, dataset / "images"
    export_onnx(network, graph, settings.max_proposals)
    draft = _describe(settings, search, network, model, making.classes, graph)

    proposed: dict[str, float] = {}
    recall: list[RecallPoint] = []
    if draft.proposals:
        by_id = {image.id: stored[index] for index, image in enumerate(test.images)}
        reached = proposal_recall(test, by_id, budgets=(settings.max_proposals,))
        proposed["proposal_recall_50"] = reached.recall[settings.max_proposals][0.5]
        proposed["proposal_mabo"] = reached.mabo[settings.max_proposals]
        recall = recall_curve(test, by_id, settings.max_proposals)
    measured = measure_artifact(draft, graph, images, val, test, "evaluate", workers, proposed, device)
    draft, found, voc, curves = measured.artifact, measured.found, measured.voc, measured.curves
    save_artifact(draft, out, DRAFT_FILE)
    write_json(out / "metrics.json", {"operating_score": draft.operating_score, **draft.metrics})
    medians = {f"seconds_{name}": statistics.median(took) for name, took in measured.seconds.items()}
    write_json(out / "timing.json", medians)
    write_json(out / "classes.json", _class_rows(voc))
    write_json(out / "precision_recall.json", precision_recall_rows(voc.by_iou[IOU_THRESHOLDS[0]]))
    bins = {name: calibration.reliability(judged) for name, judged in curves.items()}
    write_json(out / "reliability.json", {name: [asdict(row) for row in rows] for name, rows in bins.items()})
    draw_reliability(bins).save(out / "reliability.png")
    save_results(found, test, out / "detections.json")
    _show(draft, test, found, voc, recall, images, out)


def _describe(
    settings: DetectSettings,
    search: ProposeSettings,
    network: DetectionNetwork,
    model: ModelSettings,
    classes: tuple[str, ...],
    graph: Path,
) -> Artifact:
    """Return the description before anything is measured, which is enough to run the graph."""
    method = METHODS[model.name]
    return Artifact(
        name=model.name,
        backbone=model.backbone,
        classes=classes,
        preprocessing=own_preprocessing(model.image_size),
        decoding=RcnnDecoding(
            proposals=ProposalSettings(
                method=method, mode=search.mode, max_boxes=settings.max_proposals, batch=network.batch
            )
            if method
            else None
        ),
        nms_threshold=settings.nms_threshold,
        max_detections=settings.max_detections,
        operating_score=settings.min_score,
        least_score=settings.min_score,
        onnx_sha256=sha256_of(graph),
    )


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


def _show(
    draft: Artifact,
    test: CocoDataset,
    found: DetectionSet,
    voc: VocResult,
    recall: list[RecallPoint],
    images: Path,
    out: Path,
) -> None:
    """Write grid.png and evaluation.html, with the boxes that a user of the detector sees by default."""

    def read(image: ImageInfo) -> NDArray[np.uint8]:
        return decode_image((images / image.file_name).read_bytes())

    def confident(own: Detections) -> Detections:
        kept = own.scores >= draft.operating_score
        return Detections(own.boxes[kept], own.scores[kept], own.labels[kept])

    examples = [Example(read(image), image, confident(found[image.id])) for image in test.images[:_GRID_IMAGES]]
    draw_grid(examples, test.classes).save(out / "grid.png")
    page = evaluation_page(test, found, voc, draft.metrics, draft.operating_score, recall, read)
    (out / "evaluation.html").write_bytes(page)
