"""Resizes an image with one of several methods: networks see what they were trained on only with their own."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from detector.runtime.images import Pixels, Span

# bilinear and bicubic are Pillow's, with antialiasing. linear, cubic and area are OpenCV's, which reads the nearest
# 2 x 2 or 4 x 4 pixels however much an image shrinks, and with `area` all pixels that a new one covers.
Method = Literal["bilinear", "bicubic", "linear", "cubic", "area"]

_PILLOW = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
# OpenCV's parameter of cubic convolution (Keys 1981); Pillow's is -0.5.
_CUBIC = -0.75
_FIXED = np.float32(2048)
# An image is made in bands of rows, which read about this many samples for each of their taps: they stay in the
# processor's cache, and the memory for a large image is bounded.
_BAND = 2**16

Taps = tuple[NDArray[np.int64], NDArray[np.floating]]  # (N, T) indices of source pixels, and their weights


def resize_to(
    pixels: Pixels, height: int, width: int, method: Method, rows: Span | None = None, columns: Span | None = None
) -> Pixels:
    """Return an image, uint8 RGB (H, W, 3), at another size; at its own size it is returned as it is.

    rows, columns: the first and the last edge of the part that becomes the new image, which may lie within a row or a
    column of `pixels`; None: all of it.
    """
    whole = (0, pixels.shape[0]), (0, pixels.shape[1])
    rows, columns = rows or whole[0], columns or whole[1]
    if (rows, columns) == whole == ((0, height), (0, width)):
        return pixels
    if method in _PILLOW:
        box = (columns[0], rows[0], columns[1], rows[1])
        return np.asarray(Image.fromarray(pixels).resize((width, height), _PILLOW[method], box))
    taps = _linear_taps if method == "linear" else _cubic_taps if method == "cubic" else _enlarged_taps
    if method == "area" and height <= rows[1] - rows[0] and width <= columns[1] - columns[0]:
        taps = _covered_taps
    by_column, by_row = taps(columns, pixels.shape[1], width), taps(rows, pixels.shape[0], height)
    blend = _blend_float if method == "cubic" or taps is _covered_taps else _blend_fixed
    resized = np.empty((height, width, 3), np.uint8)
    step = max(1, _BAND // (3 * max(width, pixels.shape[1])))
    for start in range(0, height, step):
        band = slice(start, start + step)
        resized[band] = blend(pixels, by_column, (by_row[0][band], by_row[1][band]))
    return resized


def _blend_float(pixels: Pixels, by_column: Taps, by_row: Taps) -> Pixels:
    """Return the image blended from any number of pixels in each direction."""
    blended = _weighted_sums(_weighted_sums(pixels, by_row, axis=0), by_column, axis=1)
    return np.clip(np.rint(blended), 0, 255).astype(np.uint8)


def _weighted_sums(values: NDArray[np.generic], taps: Taps, axis: Literal[0, 1]) -> NDArray[np.float32]:
    """Return weighted sums of rows, (H, W, 3) -> (N, W, 3), or of columns, -> (H, N, 3)."""
    indices, weights = taps
    total = np.zeros(1, np.float32)
    for index, weight in zip(indices.T, weights.T.astype(np.float32), strict=True):
        total = total + values.take(index, axis) * (weight[:, None, None] if axis == 0 else weight[:, None])
    return total


def _blend_fixed(pixels: Pixels, by_column: Taps, by_row: Taps) -> Pixels:
    """Return the image blended from two pixels in each direction, with OpenCV's own whole numbers.

    Weights have 11 bits. The sums over columns lose 4 bits before they are multiplied, so that 16 bits hold them.
    """
    (left, right), (from_left, from_right) = by_column[0].T, _whole_weights(by_column)
    rows, places = np.unique(by_row[0], return_inverse=True)
    wide = pixels[rows]
    across = (wide.take(left, 1) * from_left[:, None] + wide.take(right, 1) * from_right[:, None]) >> 4
    (above, below), (from_above, from_below) = places.reshape(-1, 2).T, _whole_weights(by_row)
    upper, lower = across[above] * from_above[:, None, None], across[below] * from_below[:, None, None]
    return (((upper >> 16) + (lower >> 16) + 2) >> 2).astype(np.uint8)


def _whole_weights(taps: Taps) -> NDArray[np.int32]:
    return np.rint(taps[1].T.astype(np.float32) * _FIXED).astype(np.int32)


def _scale(part: Span, new: int) -> float:
    # In this order: it decides where a place on the border of two pixels belongs.
    return 1.0 / (new / (part[1] - part[0]))


def _linear_taps(part: Span, old: int, new: int) -> Taps:
    """Return which of `old` pixels in a row make each of `new` ones, which divide the part between two edges.

    Outside the image the last pixel is repeated.
    """
    centre = part[0] + (np.arange(new) + 0.5) * _scale(part, new) - 0.5
    first = np.floor(centre).astype(np.int64)
    share = np.where((first < 0) | (first >= old - 1), 0.0, centre - first)
    return _inside(np.maximum(first, 0)[:, None] + [0, 1], np.stack([1 - share, share], axis=1), old)


def _enlarged_taps(part: Span, old: int, new: int) -> Taps:
    """As `_linear_taps`, with the weights of `area` where a side is enlarged: most new pixels lie in one old pixel."""
    places, scale = np.arange(new), _scale(part, new)
    first = np.floor(part[0] + places * scale).astype(np.int64)
    enlarged = new / (part[1] - part[0])
    share = ((places + 1) - (first + 1 - part[0]) * enlarged).astype(np.float32)  # .9999999 becomes 1, as in OpenCV
    share = np.where((share <= 0) | (first >= old - 1), 0.0, share - np.floor(share))
    return _inside(first[:, None] + [0, 1], np.stack([1 - share, share], axis=1), old)


def _cubic_taps(part: Span, old: int, new: int) -> Taps:
    """As `_linear_taps`, with four pixels and cubic weights."""
    centre = part[0] + (np.arange(new) + 0.5) * _scale(part, new) - 0.5
    first = np.floor(centre).astype(np.int64)
    share = centre - first
    near, far = np.stack([share, 1 - share]), np.stack([share + 1, 2 - share])
    inner = ((_CUBIC + 2) * near - (_CUBIC + 3)) * near * near + 1
    outer = ((_CUBIC * far - 5 * _CUBIC) * far + 8 * _CUBIC) * far - 4 * _CUBIC
    return _inside(first[:, None] + [-1, 0, 1, 2], np.stack([outer[0], inner[0], inner[1], outer[1]], axis=1), old)


def _covered_taps(part: Span, old: int, new: int) -> Taps:
    """Return the pixels that each new one covers, by the share that is covered."""
    scale = _scale(part, new)
    begin = part[0] + np.arange(new)[:, None] * scale
    indices = np.floor(begin).astype(np.int64) + np.arange(int(np.ceil(scale)) + 1)
    covered = np.minimum(indices + 1, begin + scale) - np.maximum(indices, begin)
    return _inside(indices, np.clip(covered, 0, None) / scale, old)


def _inside(indices: NDArray[np.int64], weights: NDArray[np.floating], old: int) -> Taps:
    return np.clip(indices, 0, old - 1), weights
