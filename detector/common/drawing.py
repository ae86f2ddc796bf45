"""Draws boxes onto an image, with Pillow alone, for the evaluation, `detector predict` and the job's demo."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from detector.common.fonts import fitting

# The colours of Okabe & Ito (2008) without black, and a grey. They differ in hue and in lightness, so that
# colour-blind readers can distinguish them.
PALETTE = ("#E69F00", "#56B4E9", "#009E73", "#F0E442", "#0072B2", "#D55E00", "#CC79A7", "#BBBBBB")
TRUTH_COLOUR = "#FFFFFF"
_INK = {
    "#0072B2": "white",
    "#D55E00": "white",
    "#009E73": "white",
}  # text on the darker colours; on the others it is black


def draw_boxes(
    image: Image.Image, boxes: NDArray[np.float32], texts: Sequence[str], colours: Sequence[str], *, below: bool = False
) -> None:
    """Draw (N, 4) xyxy boxes onto an RGB image in place, each with its text on a plate; no plate if it is empty.

    Lines and letters grow with the image. A plate lies on the box's top edge, or hangs from its lower edge if
    `below`, so that two sets of boxes keep their texts apart; it stays inside the image.
    """
    draw = ImageDraw.Draw(image)
    long_side = max(image.size)
    line = max(2, round(long_side / 250))
    letters = max(10, round(long_side / 36))
    corners = np.asarray(boxes, np.float64).reshape(-1, 4).tolist()
    for (x1, y1, x2, y2), colour in zip(corners, colours, strict=True):
        # Pillow's corners are inclusive; a box thinner than a pixel still gets its line.
        draw.rectangle((x1, y1, max(x1, x2 - 1), max(y1, y2 - 1)), outline=colour, width=line)
    for (x1, y1, _, y2), text, colour in zip(corners, texts, colours, strict=True):
        if not text:
            continue
        text, font = fitting(text, letters)
        left, top, right, bottom = draw.textbbox((0, 0), text, font=font)
        width, height = right - left + 4, bottom - top + 4
        x = max(0.0, min(x1, image.width - width))
        y = max(0.0, min(y2 if below else y1 - height, image.height - height))
        draw.rectangle((x, y, x + width - 1, y + height - 1), fill=colour)
        draw.text((x + 2 - left, y + 2 - top), text, fill=_INK.get(colour, "black"), font=font)


def draw_found(
    image: Image.Image,
    boxes: NDArray[np.float32],
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    classes: Sequence[str],
) -> None:
    """Draw detections onto an RGB image in place: boxes (N, 4) xyxy, labels (N,), scores (N,).

    A class has one colour in every image; the best detection is drawn last, on top.
    """
    order = np.argsort(scores, kind="stable")
    draw_boxes(
        image,
        np.asarray(boxes, np.float32).reshape(-1, 4)[order],
        [f"{classes[labels[i]]} {scores[i]:.2f}" for i in order],
        [PALETTE[labels[i] % len(PALETTE)] for i in order],
    )


def draw_detections(
    pixels: NDArray[np.uint8],
    boxes: NDArray[np.float32],
    labels: NDArray[np.int64],
    scores: NDArray[np.float64],
    classes: Sequence[str],
) -> Image.Image:
    """Return a copy of the image, uint8 RGB (H, W, 3), with the detections that `draw_found` draws."""
    image = Image.fromarray(pixels).convert("RGB")
    draw_found(image, boxes, labels, scores, classes)
    return image
