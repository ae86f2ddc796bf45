"""Makes the tables of a model card from model.json, so that no figure of a card is typed by hand."""

from __future__ import annotations

from pathlib import Path

from detector.common.errors import ArtifactError
from detector.common.tables import markdown_table
from detector.runtime.artifact import MODEL_FILE, Artifact, load_artifact
from detector.runtime.preprocess import Preprocessing

# The command writes everything between these lines of a page.
BEGIN, END = "<!-- begin: detector card -->", "<!-- end: detector card -->"

_METHODS = {"selective_search": "Selective Search", "sliding_window": "sliding windows"}
_HALVES = "`detector import` measured it: test is one half of the images of an annotated set, and val the other half."
# The IoUs in the keys of `metrics`. If an artifact lacks a figure, the table shows a dash.
_IOUS = (50, 70, 90)


def tables(folder: Path) -> str:
    """Return Markdown tables: what the artifact in `folder` is, its figures, and those of each class.

    Raises ArtifactError if the folder is not an artifact, or its two files do not belong together.
    """
    artifact = load_artifact(folder)
    size = (folder / MODEL_FILE).stat().st_size
    rows = [
        (name, _number(artifact.class_ap.get(name)), _number(artifact.class_scores.get(name)))
        for name in artifact.classes
    ]
    classes = markdown_table(["class", "AP at IoU .5, 11-point, test", "own score, chosen on val"], rows)
    return "\n\n".join([_facts(artifact, size), *_figures(artifact), classes]) + "\n"


def renewed(page: Path, made: str) -> str:
    """Return the page's text with `made` between its two marks. Raises ArtifactError if it has no marks."""
    before, begin, rest = page.read_text("utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ArtifactError(f"{page} has no place for the tables: write the lines {BEGIN} and {END} where they belong")
    return f"{before}{BEGIN}\n\n{made}\n{END}{after}"


def _facts(artifact: Artifact, size: int) -> str:
    rows = _origin(artifact) | {
        "suppression": f"above IoU {artifact.nms_threshold:g}, in each class"
        if artifact.nms_threshold
        else "the graph's",
        "boxes per image": f"{artifact.max_detections} at most",
        "operating score": f"{artifact.operating_score:.3f}, "
        + ("the best mean F1 on val" if artifact.metrics else "assumed"),
        "`model.onnx`": f"{size / 1e6:.1f} MB, sha256 `{artifact.onnx_sha256[:12]}…`",
        "data, settings": f"sha256 `{artifact.data_digest or '–':.12}…`, `{artifact.params_digest or '–':.12}…`",
    }
    return markdown_table(["what", "value"], list(rows.items()))


def _origin(artifact: Artifact) -> dict[str, str]:
    """Return what the graph is: a member of our own family, or a graph of another kind."""
    if artifact.decoding.kind != "rcnn":
        kind = {"name": f"`{artifact.name}`", "kind": f"`{artifact.decoding.kind}`"}
        return kind | {"input": _input(artifact.preprocessing)}
    search = artifact.proposals
    proposals = "the network's own"
    if search is not None:
        mode = f", {search.mode} mode" if search.method == "selective_search" else ""
        proposals = f"{_METHODS[search.method]}{mode}, {search.max_boxes:,} an image at most"
    return {
        "member of the family": f"`{artifact.name}`",
        "backbone": f"`{artifact.backbone or '–'}`",
        "input": _input(artifact.preprocessing),
        "proposals": proposals,
    }


def _input(settings: Preprocessing) -> str:
    sizes = {
        "none": "as it is",
        "long_side": f"the longer side resized to {settings.width} pixels",
        "letterbox": f"fitted into {settings.width} x {settings.height} pixels and padded",
        "stretch": f"stretched to {settings.width} x {settings.height} pixels",
    }
    return f"{settings.channels}, {sizes[settings.resize]}"


def _figures(artifact: Artifact) -> list[str]:
    def row(title: str, *names: str) -> list[str]:
        return [title, *(_number(artifact.metrics.get(name)) for name in names)]

    average = [
        row("mAP, 11-point (VOC 2007)", *(f"map_{iou}_11point" for iou in _IOUS)),
        row("mAP, all-point", *(f"map_{iou}_all_point" for iou in _IOUS)),
    ]
    single = {
        "COCO AP, IoU .5 to .95": "coco_ap",
        "COCO AP of small objects (below 32 x 32 pixels)": "coco_ap_small",
        "COCO AP of medium ones": "coco_ap_medium",
        "COCO AP of large ones (from 96 x 96)": "coco_ap_large",
        "localisation accuracy: the best box is the largest object": "localisation_accuracy",
        "expected calibration error, all detections": "calibration_error",
        "expected calibration error from the operating score on": "calibration_error_operating",
    }
    if not artifact.metrics:
        return [
            "This artifact is not measured: its scores are those of the graph, and there are no average precision and "
            "no baseline."
        ]
    return [
        markdown_table(
            [
                f"on {artifact.baseline.images if artifact.baseline else 0:,} test images",
                *(f"IoU .{iou}" for iou in _IOUS),
            ],
            average,
        ),
        markdown_table(["also on test", "value"], [row(title, name) for title, name in single.items()]),
        # `detector import` knows the images that it measured, and not those of the training.
        *([_HALVES] if artifact.data_digest is None else []),
    ]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
