"""Resizes an image with one of several methods: networks see what they were trained on only with their own."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detector.runtime.images import Pixels

# bilinear and bicubic are Pillow's, with antialiasing. linear, cubic and area are OpenCV's, which reads the nearest
# 2 x 2 or 4 x 4 pixels however much an image shrinks, and with `area` all pixels that a new one covers.
Method = Literal["bilinear", "bicubic", "linear", "cubic", "area"]

_PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# OpenCV's parameter of cubic convolution (Keys 1981); Pillow's is -0.5.
_CUBIC = -0.75
_FIXED = np.float32(2048)

Taps = tuple[NDArray[np.int64], NDArray[np.floating]]  # (N, T) indices of source pixels, and their weights


def resize_to(pixels: Pixels, height: int, width: int, method: Method) -> Pixels:
    """Return an image, uint8 RGB (H, W, 3), at another size; at its own size it is returned as it is."""
    if pixels.shape[:2] == (height, width):
        return pixels
    if method in _PILLOW:
        return np.asarray(Image.fromarray(pixels).resize((width, height), _PILLOW[method]))
    taps = _linear_taps if method == "linear" else _cubic_taps if method == "cubic" else _enlarged_taps
    if method == "area" and height <= pixels.shape[0] and width <= pixels.shape[1]:
        taps = _covered_taps
    by_column, by_row = taps(pixels.shape[1], width), taps(pixels.shape[0], height)
    if method == "cubic" or taps is _covered_taps:
        rows = _blend(pixels, by_row)
        return np.clip(np.rint(_blend(rows.swapaxes(0, 1), by_column).swapaxes(0, 1)), 0, 255).astype(np.uint8)
    return _blend_fixed(pixels, by_column, by_row)


def _blend(values: NDArray[np.generic], taps: Taps) -> NDArray[np.float32]:
    """Return weighted sums of rows: (H, W, 3) -> (N, W, 3)."""
    indices, weights = taps
    total = np.zeros((len(indices), *values.shape[1:]), np.float32)
    for index, weight in zip(indices.T, weights.T.astype(np.float32), strict=True):
        total += values[index] * weight[:, None, None]
    return total


def _blend_fixed(pixels: Pixels, by_column: Taps, by_row: Taps) -> Pixels:
    """Return the image blended from two pixels in each direction, with OpenCV's own whole numbers.

    Weights have 11 bits. The sums over columns lose 4 bits before they are multiplied, so that 16 bits hold them.
    """
    (left, right), (above, below) = by_column[0].T, by_row[0].T
    (from_left, from_right), (from_above, from_below) = (
        np.rint(weights.T.astype(np.float32) * _FIXED).astype(np.int32) for _, weights in (by_column, by_row)
    )
    wide = pixels.astype(np.int32)
    across = (wide[:, left] * from_left[:, None] + wide[:, right] * from_right[:, None]) >> 4
    upper, lower = across[above] * from_above[:, None, None], across[below] * from_below[:, None, None]
    return (((upper >> 16) + (lower >> 16) + 2) >> 2).astype(np.uint8)


def _scale(old: int, new: int) -> float:
    return 1.0 / (new / old)  # in this order: it decides where a place on the border of two pixels belongs


def _linear_taps(old: int, new: int) -> Taps:
    """Return which of `old` pixels in a row make each of `new` ones; outside the image the last pixel is repeated."""
    centre = (np.arange(new) + 0.5) * _scale(old, new) - 0.5
    first = np.floor(centre).astype(np.int64)
    part = np.where((first < 0) | (first >= old - 1), 0.0, centre - first)
    return _inside(np.maximum(first, 0)[:, None] + [0, 1], np.stack([1 - part, part], axis=1), old)


def _enlarged_taps(old: int, new: int) -> Taps:
    """As `_linear_taps`, with the weights of `area` where a side is enlarged: most new pixels lie in one old pixel."""
    places, scale = np.arange(new), _scale(old, new)
    first = np.floor(places * scale).astype(np.int64)
    part = (places + 1) - (first + 1) * (new / old)
    part = np.where((part <= 0) | (first >= old - 1), 0.0, part - np.floor(part))
    return _inside(first[:, None] + [0, 1], np.stack([1 - part, part], axis=1), old)


def _cubic_taps(old: int, new: int) -> Taps:
    """As `_linear_taps`, with four pixels and cubic weights."""
    centre = (np.arange(new) + 0.5) * _scale(old, new) - 0.5
    first = np.floor(centre).astype(np.int64)
    part = centre - first
    near, far = np.stack([part, 1 - part]), np.stack([part + 1, 2 - part])
    inner = ((_CUBIC + 2) * near - (_CUBIC + 3)) * near * near + 1
    outer = ((_CUBIC * far - 5 * _CUBIC) * far + 8 * _CUBIC) * far - 4 * _CUBIC
    return _inside(first[:, None] + [-1, 0, 1, 2], np.stack([outer[0], inner[0], inner[1], outer[1]], axis=1), old)


def _covered_taps(old: int, new: int) -> Taps:
    """Return the pixels that each new one covers, by the part that is covered."""
    scale = _scale(old, new)
    begin = np.arange(new)[:, None] * scale
    indices = np.floor(begin).astype(np.int64) + np.arange(int(np.ceil(scale)) + 1)
    covered = np.minimum(indices + 1, begin + scale) - np.maximum(indices, begin)
    return _inside(indices, np.clip(covered, 0, None) / scale, old)


def _inside(indices: NDArray[np.int64], weights: NDArray[np.floating], old: int) -> Taps:
    return np.clip(indices, 0, old - 1), weights
