"""The tools that `benchmarks.proposals` compares: this project's search, OpenCV's, dlib's, and two references.

A peer is a package that this project does not need; it is imported only when it is asked for.
"""

from __future__ import annotations

import ctypes
import importlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from typing import Any

import click
import numpy as np
from numpy.typing import NDArray

from detector.proposals import Mode, selective_search, sliding_window
from detector.runtime.geometry.boxes import Boxes, xywh_to_xyxy

Pixels = NDArray[np.uint8]

# Enough for a reference's curve to reach past every tool's.
REFERENCE_BOXES = 10_000
# Any number: the same shuffles and draws in every run.
_SEED = 1


@dataclass(frozen=True)
class Tool:
    """One way from pixels to boxes. Only `search` is timed: reordering channels and converting a tool's own kind of
    boxes are no part of its work, and neither costs a user of the tool's own language anything.

    prepare: uint8 RGB (H, W, 3) -> what the tool takes; search: that -> what the tool gives; boxes: that -> float32
    (N, 4) xyxy, half-open, in the tool's order.
    """

    title: str
    version: str
    prepare: Callable[[Pixels], Any]
    search: Callable[[Any], Any]
    boxes: Callable[[Any], Boxes]


def _ours(mode: Mode) -> Tool:
    return Tool(
        title=f"Boxcar {mode}",
        version=metadata.version("boxcar"),
        prepare=lambda rgb: rgb,
        search=lambda rgb: selective_search(rgb, max_boxes=None, mode=mode),
        boxes=lambda found: found,
    )


def _import(module: str, package: str, tools: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise click.ClickException(_missing(package, tools)) from error


def _missing(package: str, tools: str) -> str:
    return f"{package} is not installed: `pip install {package}`, or leave {tools} out of --tools"


def _seed_c_library() -> None:
    """Seed the C library's rand(), from which OpenCV draws its ranking; cv2.setRNGSeed does not reach it.

    Seeded before every image, the order is the same in every run on one platform, and no better or worse than any
    other. The set of boxes is always the same. On Windows OpenCV has a C library of its own, and the order is random.
    """
    if sys.platform != "win32":
        ctypes.CDLL(None).srand(_SEED)


def _opencv(mode: Mode) -> Tool:
    package = "opencv-contrib-python-headless"
    cv2 = _import("cv2", package, "opencv-fast and opencv-quality")
    # The plain packages of OpenCV install a `cv2` without the contributed modules.
    if not hasattr(cv2, "ximgproc"):
        raise click.ClickException("this cv2 has no ximgproc; " + _missing(package, "opencv-fast and opencv-quality"))
    cv2.setNumThreads(1)

    def prepare(rgb: Pixels) -> Pixels:
        _seed_c_library()
        return np.ascontiguousarray(rgb[..., ::-1])  # BGR

    def search(bgr: Pixels) -> Any:
        tool = cv2.ximgproc.segmentation.createSelectiveSearchSegmentation()
        tool.setBaseImage(bgr)
        if mode == "fast":
            tool.switchToSelectiveSearchFast()
        else:
            tool.switchToSelectiveSearchQuality()
        return tool.process()  # (N, 4) x, y, width, height

    return Tool(f"OpenCV {mode}", cv2.__version__, prepare, search, xywh_to_xyxy)


def _dlib() -> Tool:
    dlib = _import("dlib", "dlib-bin", "dlib")

    def search(rgb: Pixels) -> list[Any]:
        found: list[Any] = []
        dlib.find_candidate_object_locations(rgb, found)
        return found

    def boxes(found: list[Any]) -> Boxes:
        # Right and bottom are the last pixels inside.
        edges = [(box.left(), box.top(), box.right() + 1, box.bottom() + 1) for box in found]
        # dlib does not rank: its list is sorted by left edge. Shuffled, its beginnings are fair samples of it.
        return np.random.default_rng(_SEED).permutation(np.array(edges, np.float32).reshape(-1, 4))

    return Tool("dlib", dlib.__version__, lambda rgb: rgb, search, boxes)


TOOLS: dict[str, Callable[[], Tool]] = {
    "ours-fast": lambda: _ours("fast"),
    "ours-quality": lambda: _ours("quality"),
    "opencv-fast": lambda: _opencv("fast"),
    "opencv-quality": lambda: _opencv("quality"),
    "dlib": _dlib,
}


def random_boxes(height: int, width: int, count: int, seed: int) -> Boxes:
    """Return `count` boxes, each drawn with equal chances from all boxes with whole edges inside the image.

    float32 (count, 4) xyxy, half-open; a box may come twice, and the same arguments give the same boxes. Their overlap
    with the truth is that of a tool which knows only the image's size.
    """
    rng = np.random.default_rng(seed)

    def edges(side: int) -> NDArray[np.int64]:
        """Return two different lines of side + 1, the smaller one first: (count, 2)."""
        first, second = rng.integers(0, side + 1, count), rng.integers(0, side, count)
        return np.sort(np.stack([first, second + (second >= first)], axis=1), axis=1)

    x, y = edges(width), edges(height)
    return np.stack([x[:, 0], y[:, 0], x[:, 1], y[:, 1]], axis=1).astype(np.float32)


@dataclass(frozen=True)
class Reference:
    """Boxes that depend on an image's height, width and id alone. Their time does not matter."""

    title: str
    boxes: Callable[[int, int, int], Boxes]


REFERENCES = {
    "sliding-window": Reference(
        "sliding window", lambda height, width, _: sliding_window(height, width, REFERENCE_BOXES)
    ),
    "random": Reference("random boxes", lambda height, width, id: random_boxes(height, width, REFERENCE_BOXES, id)),
}
