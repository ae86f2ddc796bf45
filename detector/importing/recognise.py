"""Recognises what made a graph, by its outputs: their names, their shapes against the strides, and some numbers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.common.errors import ArtifactError
from detector.importing.presets import Values
from detector.importing.trial import Trial
from detector.runtime.kinds.detr import detr_outputs
from detector.runtime.kinds.grid import places

# The strides of feature maps that detectors use: five sizes, without the finest, with a coarser, with a finer one.
_STRIDES = ((8, 16, 32), (8, 16, 32, 64), (16, 32), (4, 8, 16, 32))
_BINS = 8  # of a distance in NanoDet and PicoDet
# A raw centre is an offset of a few cells at most (YOLOX-Nano: 3.7 on noise); a decoded one is in pixels, up to the
# input's side.
_MOST_CELLS = 8.0
_LARGEST_FRACTION = 2.0  # of the input, with room for a centre or a size that is a little too large
LOOKED_FOR = (
    ("yolox", "one output 1 x N x (5 + C), a row for each cell of strides 8, 16, 32"),
    ("ultralytics", "1 x (4 + C) x N with N cells; 1 x N x (5 + C) with three rows for each cell; or 1 x K x 6"),
    ("picodet, nanodet", "for each stride N x C scores and N x 32 distances"),
    ("nanodet-plus", "one output 1 x N x (C + 32), a row for each cell of strides 8, 16, 32, 64"),
    ("fastestdet", "one output 1 x (5 + C) x H x W"),
    ("rtdetr, rfdetr, detr", "logits 1 x Q x C and boxes 1 x Q x 4"),
    ("torchvision", "boxes N x 4, whole labels N and scores N"),
    ("rcnn", "inputs `image` (and `proposals`), outputs `scores` N x C and `boxes` N x C x 4, or a batch of these"),
)


@dataclass(frozen=True)
class Reading:
    """One way to read a graph. because: the facts that speak for it; classes: the number that the graph scores, None
    if its outputs do not tell; decoding: the values that the graph decides."""

    preset: str
    because: str
    classes: int | None
    decoding: Values = field(default_factory=dict)


def readings(trial: Trial) -> list[Reading]:
    """Return every way to read the graph that its outputs allow; none if they are of no kind that is known."""
    found = [reading for rule in _RULES for reading in rule(trial) if reading.classes is None or reading.classes > 0]
    own = [reading for reading in found if reading.preset == "ultralytics"]
    return own if own and is_ultralytics(trial) else found


def is_ultralytics(trial: Trial) -> bool:
    """Return whether the user or the file says that Ultralytics' tools wrote it."""
    return trial.preset == "ultralytics" or {"names", "stride"} <= set(trial.graph.metadata)


def shape_text(value: NDArray[Any]) -> str:
    """Return a shape as 1x3549x85."""
    return "x".join(map(str, value.shape)) or "one number"


def outputs_text(trial: Trial) -> str:
    """Return the graph's outputs with their shapes."""
    return ", ".join(f"{name} {shape_text(value)}" for name, value in trial.outputs.items())


def _cells(trial: Trial, strides: tuple[int, ...]) -> int:
    return len(places(trial.size, strides)[0])


def _on(trial: Trial, strides: tuple[int, ...]) -> str:
    return f"the cells of strides {', '.join(map(str, strides))} in {trial.size[1]} x {trial.size[0]} pixels"


def _rows(trial: Trial) -> Iterator[Reading]:
    """Graphs with one output of three axes: YOLOX, Ultralytics' layouts, NanoDet-Plus."""
    # Old exports of YOLOv5 and YOLOv7 also give their raw maps, which have five axes.
    found = [(name, value) for name, value in trial.outputs.items() if value.ndim != 5]
    if len(found) != 1 or found[0][1].ndim != 3 or len(found[0][1]) != 1:
        return
    ((name, value),) = found
    _, rows, columns = value.shape
    what = f"the output {name} is {shape_text(value)}"
    fits = False
    for strides in _STRIDES:
        cells, on = _cells(trial, strides), _on(trial, strides)
        if columns == cells and rows > 4:
            fits = True
            yield Reading("ultralytics", f"{what}: a column for each of {on}", rows - 4, {"layout": "transposed"})
        if rows == 3 * cells and columns > 5:
            fits = True
            because = f"{what}: three rows (anchors) for each of {on}"
            yield Reading("ultralytics", because, columns - 5, {"layout": "objectness"})
        if rows == cells and columns > 5:
            fits = True
            yield from _one_row_a_cell(trial, value[0], strides, f"{what}: a row for each of {on}")
    if not fits and columns == 6:
        because = f"{what}: rows of two corners, a score and a label, fewer than there are cells"
        yield Reading("ultralytics", because, None, {"layout": "end_to_end"})
    if not fits and is_ultralytics(trial):
        # Its strides are others; the number of classes decides.
        yield Reading("ultralytics", what, rows - 4, {"layout": "transposed"})
        yield Reading("ultralytics", what, columns - 5, {"layout": "objectness"})


def _one_row_a_cell(trial: Trial, value: NDArray[Any], strides: tuple[int, ...], because: str) -> Iterator[Reading]:
    columns = value.shape[1]
    settings: Values = {"strides": strides}
    if np.abs(value[:, :2].astype(np.float64)).max() <= _MOST_CELLS:
        yield Reading("yolox", f"{because}, and centres are offsets in cells", columns - 5, settings)
        if len(strides) == 4 and columns > 4 * _BINS:
            yield Reading("nanodet-plus", because, columns - 4 * _BINS, settings | {"bins": _BINS})
    else:
        because += ", and centres are in pixels"
        yield Reading("yolox", because, columns - 5, settings | {"decoded": True})
        yield Reading("ultralytics", because, columns - 5, {"layout": "objectness"})


def _distances(trial: Trial) -> Iterator[Reading]:
    """Graphs with scores and distances for each stride: NanoDet and PicoDet."""
    shapes = [value.shape for value in trial.outputs.values() if value.ndim in (2, 3) and len(value)]
    if len(shapes) != len(trial.outputs) or any(len(shape) == 3 and shape[0] != 1 for shape in shapes):
        return
    for strides in _STRIDES[:2]:
        sizes = [_cells(trial, (stride,)) for stride in strides]
        widths = [sorted(shape[-1] for shape in shapes if shape[-2] == size) for size in sizes]
        first = widths[0]
        if len(shapes) == 2 * len(strides) and all(row == first for row in widths) and 4 * _BINS in first:
            preset = "picodet" if len(strides) == 4 else "nanodet"
            classes = first[0] if first[1] == 4 * _BINS else first[1]
            because = f"its outputs are scores and {4 * _BINS} distances for each of {_on(trial, strides)}"
            yield Reading(preset, because, classes, {"strides": strides, "bins": _BINS})


def _map(trial: Trial) -> Iterator[Reading]:
    """FastestDet: one map."""
    if len(trial.outputs) == 1:
        ((name, value),) = trial.outputs.items()
        if value.ndim == 4 and len(value) == 1 and value.shape[1] > 5 and min(value.shape[2:]) > 1:
            because = f"the output {name} is {shape_text(value)}, a map of the image"
            yield Reading("fastestdet", because, value.shape[1] - 5)


def _queries(trial: Trial) -> Iterator[Reading]:
    """The DETRs: logits and boxes of queries."""
    three = [name for name, value in trial.outputs.items() if value.ndim == 3 and len(value) == 1]
    named = {"logits", "pred_boxes"} <= set(three)  # Hugging Face's graphs may give features too
    if len(three) != 2 and not named:
        return
    try:
        logits, box = detr_outputs(list(trial.outputs), [list(value.shape) for value in trial.outputs.values()])
    except ArtifactError:
        return
    queries = trial.outputs[box].shape[1]
    # With a row for each cell, or boxes in pixels, it is another kind of graph.
    is_grid = any(queries in (_cells(trial, strides), 3 * _cells(trial, strides)) for strides in _STRIDES)
    largest = np.abs(trial.outputs[box]).max(initial=0)
    if is_grid or trial.outputs[logits].shape[1] != queries or largest > _LARGEST_FRACTION:
        return
    count = trial.outputs[logits].shape[2]
    shapes = f"{shape_text(trial.outputs[logits])} and {box} {shape_text(trial.outputs[box])}"
    because = f"{logits} is {shapes}, {queries} queries"
    if not {"dets", "labels"} <= set(trial.outputs):
        yield Reading("rtdetr", f"{because}; a number for each class", count, {"activation": "sigmoid"})
        text = f"{because}; a number for each class and one for no object"
        yield Reading("detr", text, count - 1, {"activation": "softmax"})
    if {"dets", "labels"} <= set(trial.outputs) or count == 91:
        yield Reading("rfdetr", f"{because}; a number for each class", count, {"activation": "sigmoid"})
    if trial.preset == "detr":  # Conditional and Deformable DETR
        yield Reading("detr", f"{because}; a number for each class", count, {"activation": "sigmoid"})


def _final(trial: Trial) -> Iterator[Reading]:
    """torchvision: boxes, labels and scores, after suppression."""
    kinds = sorted(
        "boxes" if value.ndim == 2 and value.shape[1] == 4 else
        "labels" if value.ndim == 1 and value.dtype.kind in "iu" else
        "scores" if value.ndim == 1 and value.dtype.kind == "f" else "other"
        for value in trial.outputs.values()
    )  # fmt: skip
    if kinds == ["boxes", "labels", "scores"]:
        yield Reading("torchvision", f"its outputs are {outputs_text(trial)}: boxes, labels and scores", None)


def _own(trial: Trial) -> Iterator[Reading]:
    """Boxcar's own graphs."""
    inputs = set(trial.graph.inputs)
    if "image" in inputs and inputs <= {"image", "proposals"} and set(trial.outputs) == {"scores", "boxes"}:
        search = {"method": "selective_search", "mode": "fast", "max_boxes": 2000, "batch": None}
        because = f"its inputs are {' and '.join(sorted(inputs))}, its outputs boxes and scores"
        proposals = search if "proposals" in inputs else None
        yield Reading("rcnn", because, trial.outputs["scores"].shape[-1], {"proposals": proposals})


_RULES = (_rows, _distances, _map, _queries, _final, _own)
