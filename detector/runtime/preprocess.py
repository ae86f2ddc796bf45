"""Makes a graph's input from an image, as the artifact describes it, and maps boxes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, model_validator

from detector.runtime.images import MEAN, SCALE, STRIDE, Pixels
from detector.runtime.resizing import Method, resize_to

# The largest input of a graph, per side: a description must not ask for more memory than an image has.
MOST_SIDE = 8192

Three = tuple[FiniteFloat, FiniteFloat, FiniteFloat]
_Divisor = Annotated[FiniteFloat, Field(gt=0)]


class Preprocessing(BaseModel):
    """How an image becomes the graph's input, float32 (1, 3, H, W)."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    resize: Literal["none", "long_side", "letterbox", "stretch"] = Field(
        description="none: the image as it is; long_side: with its ratio, so that the longer side has `width` pixels; "
        "letterbox: with its ratio, so that it fits into `height` x `width`, and padded to that; stretch: to that "
        "size, whatever its ratio"
    )
    height: Annotated[int, Field(ge=1, le=MOST_SIDE)] | None = Field(description="pixels; null for resize none")
    width: Annotated[int, Field(ge=1, le=MOST_SIDE)] | None = Field(description="pixels; null for resize none")
    interpolation: Method = Field(
        default="bilinear",
        description="bilinear, bicubic: Pillow's, with antialiasing; linear, cubic, area: OpenCV's INTER_LINEAR, "
        "INTER_CUBIC and INTER_AREA",
    )
    rounding: Literal["nearest", "down"] = Field(default="nearest", description="of the resized sides, in pixels")
    place: Literal["top_left", "centre"] = Field(default="top_left", description="of the image in the padded input")
    multiple: int = Field(
        default=1, ge=1, le=MOST_SIDE, description="sides are padded to multiples of this, at the bottom and right"
    )
    pad: float = Field(default=0.0, ge=0, le=255, description="value of padding, 0 to 255, before normalisation")
    channels: Literal["RGB", "BGR"] = "RGB"
    mean: Three = Field(default=(0.0, 0.0, 0.0), description="in the order of `channels`: input = (value - mean) / std")
    std: tuple[_Divisor, _Divisor, _Divisor] = Field(
        default=(1.0, 1.0, 1.0), description="in the order of `channels`, values from 0 to 255"
    )

    @model_validator(mode="after")
    def _size_is_known(self) -> Self:
        if self.resize != "none" and None in (self.height, self.width):
            raise ValueError(f"resize {self.resize} needs height and width")
        return self


@dataclass(frozen=True)
class Prepared:
    """A graph's input, float32 (1, 3, H, W), and the way back: original = (input - offset) / scale, for x and y."""

    tensor: NDArray[np.float32]
    scale: tuple[float, float]
    offset: tuple[float, float]


def own_preprocessing(image_size: int) -> Preprocessing:
    """Return the preprocessing of our own pipeline's training and graphs, whose normalisation is `images.normalise`."""
    mean, std = float(MEAN), 1.0 / float(SCALE)
    return Preprocessing(
        resize="long_side",
        height=image_size,
        width=image_size,
        multiple=STRIDE,
        pad=mean,
        mean=(mean, mean, mean),
        std=(std, std, std),
    )


def resized_size(settings: Preprocessing, height: int, width: int) -> tuple[int, int]:
    """Return the (height, width) to which an image of this size is resized; no side becomes smaller than 1 pixel."""
    if settings.height is None or settings.width is None or settings.resize == "none":
        return height, width
    if settings.resize == "stretch":
        return settings.height, settings.width
    if settings.resize == "long_side":
        factor = settings.width / max(height, width)
    else:
        factor = min(settings.height / height, settings.width / width)
    whole = round if settings.rounding == "nearest" else int
    return max(1, whole(height * factor)), max(1, whole(width * factor))


def prepare(settings: Preprocessing, pixels: Pixels, height: int, width: int) -> Prepared:
    """Resize, pad and normalise an image, uint8 RGB (h, w, 3).

    height, width: its frame, to which boxes are mapped back; `pixels` may be smaller, from a scaled decode.
    """
    new_height, new_width = resized_size(settings, height, width)
    pixels = resize_to(pixels, new_height, new_width, settings.interpolation)
    if settings.channels == "BGR":
        pixels = pixels[..., ::-1]
    mean, std = (np.array(values, np.float32)[:, None, None] for values in (settings.mean, settings.std))
    full_height, full_width = _padded(settings, new_height), _padded(settings, new_width)
    if settings.resize == "letterbox":
        full_height, full_width = settings.height or full_height, settings.width or full_width
    top, left = 0, 0
    if settings.place == "centre":
        top, left = (full_height - new_height) // 2, (full_width - new_width) // 2
    tensor = np.full((1, 3, full_height, full_width), settings.pad, np.float32)
    tensor[0, :, top : top + new_height, left : left + new_width] = pixels.transpose(2, 0, 1)
    tensor -= mean
    tensor /= std
    return Prepared(tensor, (new_width / width, new_height / height), (float(left), float(top)))


def _padded(settings: Preprocessing, side: int) -> int:
    return -(-side // settings.multiple) * settings.multiple
