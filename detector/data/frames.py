"""Moves boxes into the frame of the upright image, and refuses those that were drawn in another one.

A camera stores the rows of its sensor with an EXIF orientation. Some annotation tools show the stored rows, others the
upright image; the size that an annotation states often tells which. A file may also have been resized since then.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from detector.common.errors import AnnotationError, ImageError
from detector.data.annotations import ImageInfo
from detector.runtime.images import decode_image, exif_orientation

# Sizes that differ by this many pixels were rounded differently; boxes need not move.
_ROUNDING = 1
# Fractions of an image end at 1; those of a centre and a size, read as a corner and a size, at 1.5.
_LARGEST_FRACTION = 1.5
# Boxes that reach over the edge of their image, and rounding.
_FRACTION_ERROR = 0.5

Size = tuple[int, int]  # height, width
Frame = Literal["stored", "upright"]


@dataclass(frozen=True)
class FrameRules:
    """What the user states about boxes. frame: where those of files with an EXIF orientation were drawn, by default as
    the stated sizes tell; scale: whether to scale boxes whose stated size is not the file's."""

    frame: Literal["auto", "stored", "upright"] = "auto"
    scale: bool = False


@dataclass(frozen=True)
class ImageFile:
    """A file that decodes: its upright size in pixels, and its EXIF orientation, 1 to 8."""

    path: Path
    height: int
    width: int
    orientation: int

    def size(self, frame: Frame) -> Size:
        """Return (height, width) of a frame."""
        swapped = frame == "stored" and self.orientation >= 5
        return (self.width, self.height) if swapped else (self.height, self.width)


@dataclass(frozen=True)
class Moved:
    """An image whose boxes are in the upright frame, and what was done. assumed: a frame that no size tells."""

    image: ImageInfo
    turned: bool
    scaled: bool
    assumed: Frame | None


def read_image_file(path: Path) -> ImageFile:
    """Decode an image. Raises AnnotationError if it cannot be read."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise AnnotationError(f"{path}: the image cannot be read ({error.strerror})") from error
    try:
        pixels = decode_image(data)
    except ImageError as error:
        raise AnnotationError(f"{path}: the image does not decode: {error}") from error
    height, width = pixels.shape[:2]
    return ImageFile(path, height, width, exif_orientation(data))


def refuse_fractions(source: object, images: Mapping[str, NDArray[np.floating]]) -> None:
    """Raise AnnotationError, which begins with `source`, if the boxes of an image are normalised; boxes (N, 4) xyxy by
    the image's name.

    They are when all boxes of all images lie within the first two pixels, or those of one image do and are no whole
    numbers.
    """
    every = are_fractions(images.values())
    for name, boxes in images.items():
        if (every and len(boxes)) or (are_fractions([boxes], _FRACTION_ERROR) and (boxes != np.round(boxes)).any()):
            raise AnnotationError(
                f"{source}: all boxes of {name} lie within [0, {_LARGEST_FRACTION}]: they are normalised, which means "
                "fractions of the image, and this format has pixels; multiply them by the width and the height of "
                "their images"
            )


def are_fractions(boxes: Iterable[NDArray[np.floating]], error: float = 0.0) -> bool:
    """Return whether there are boxes (N, 4) xyxy, and all may be fractions of their images.

    error: how far a number may lie outside.
    """
    numbers = np.concatenate([np.zeros(0), *(own.ravel() for own in boxes)])
    return bool(len(numbers) and numbers.min() >= -error and numbers.max() <= _LARGEST_FRACTION + error)


def move_upright(
    source: object, images: Sequence[ImageInfo], files: Sequence[ImageFile], rules: FrameRules
) -> list[Moved]:
    """Return the images with their real size and their boxes in the upright frame, not yet clipped.

    images: as the annotations `source` state them; a size of 0 x 0 is unknown. Where the size does not tell the frame,
    it is the one that all other turned files of this source show, else the upright one.
    Raises AnnotationError, which names file, sizes and setting: the file was resized or turned since the annotation,
    or its boxes contradict the frame.
    """
    known = [_frame_by_size(image, file) for image, file in zip(images, files, strict=True)]
    shown = {frame for frame, file in zip(known, files, strict=True) if file.orientation > 1 and frame is not None}
    assumed: Frame = "stored" if shown == {"stored"} else "upright"
    moved = []
    for image, file, frame in zip(images, files, known, strict=True):
        chosen = frame or (rules.frame if rules.frame != "auto" else assumed)
        contradicts = _contradicts(image, file, chosen)
        if contradicts and rules.frame != "auto":
            chosen = rules.frame  # the user knows better than the size
        boxes, scaled = _scaled(source, image, file, chosen, rules.scale)
        if rules.frame == "auto" and contradicts and not scaled:
            raise _contradiction(source, image, file, chosen)
        corners = image.boxes[:, 1::-1]  # y, x of the upper left one
        if 0 in (image.height, image.width) and (corners >= file.size(chosen)).any():
            raise AnnotationError(
                f"{file.path}: {source} states no size for it, and a box lies outside its {_text(file.size(chosen))} "
                "pixels: it was drawn on a larger image; take that image, or state its size and set "
                "fetch.scale_boxes to true"
            )
        turned = chosen == "stored" and file.orientation > 1
        if turned:
            boxes = _turned(boxes, file)
        is_known = rules.frame != "auto" or frame is not None or not len(boxes)
        fitted = dataclasses.replace(image, height=file.height, width=file.width, boxes=boxes.astype(np.float32))
        moved.append(Moved(fitted, turned and len(boxes) > 0, scaled, None if is_known else chosen))
    return moved


def _distance(stated: Size, size: Size) -> int:
    """Return how far the sizes are apart: 0 equal, 1 rounded differently, 2 of one ratio, 3 of another."""
    (height, width), (own_height, own_width) = stated, size
    if stated == size:
        return 0
    if max(abs(height - own_height), abs(width - own_width)) <= _ROUNDING:
        return 1
    same = abs(width * own_height / own_width - height) <= 1 or abs(height * own_width / own_height - width) <= 1
    return 2 if same else 3


def _frame_by_size(image: ImageInfo, file: ImageFile) -> Frame | None:
    """Return the frame whose size is nearest to the stated one, or None where that does not tell."""
    if file.orientation == 1:
        return "upright"
    if 0 in (image.height, image.width):
        return None
    stored, upright = (_distance((image.height, image.width), file.size(frame)) for frame in ("stored", "upright"))
    return None if stored == upright else "stored" if stored < upright else "upright"


def _scaled(
    source: object, image: ImageInfo, file: ImageFile, frame: Frame, allowed: bool
) -> tuple[NDArray[np.float64], bool]:
    """Return the boxes in pixels of the file's frame, float64 (N, 4), and whether they had to be scaled."""
    boxes = image.boxes.astype(np.float64)
    stated, size = (image.height, image.width), file.size(frame)
    if 0 in stated or not len(boxes):
        return boxes, False
    distance, swapped = _distance(stated, size), _distance(stated[::-1], size)
    if file.orientation >= 5 and swapped < distance:
        stated, distance = stated[::-1], swapped  # the user states a frame that the size does not have
    if distance < 2:
        return boxes, False
    changed = (
        f"{file.path}: the annotation in {source} states {image.width}x{image.height} pixels, and the file has "
        f"{_text(size)}"
    )
    if swapped < distance:
        raise AnnotationError(
            f"{changed}: it was turned after the annotation, or lost its EXIF orientation; take the annotated file"
        )
    if not allowed:
        other = "" if distance == 2 else ", of another ratio: it was stretched, or cut or padded, which needs new boxes"
        raise AnnotationError(
            f"{changed}{other}; the file was changed after the annotation: take the annotated file, or set "
            "fetch.scale_boxes to true if it was only resized"
        )
    factors = size[1] / stated[1], size[0] / stated[0]
    return boxes * np.array(factors * 2), True


def _centres(image: ImageInfo) -> NDArray[np.floating]:
    """Return y and x of the centre of each box, (N, 2)."""
    centres: NDArray[np.floating] = (image.boxes[:, 1::-1] + image.boxes[:, :1:-1]) / 2
    return centres


def _lie_outside(image: ImageInfo, file: ImageFile, frame: Frame) -> bool:
    return bool((_centres(image) > file.size(frame)).any())


def _contradicts(image: ImageInfo, file: ImageFile, frame: Frame) -> bool:
    """Return whether the centre of a box lies outside its frame, and all lie in the other one."""
    other: Frame = "upright" if frame == "stored" else "stored"
    return _lie_outside(image, file, frame) and not _lie_outside(image, file, other)


def _contradiction(source: object, image: ImageInfo, file: ImageFile, frame: Frame) -> AnnotationError:
    other: Frame = "upright" if frame == "stored" else "stored"
    return AnnotationError(
        f"{file.path}: by the size in {source} its boxes should lie in the {frame} frame, "
        f"{_text(file.size(frame))}, but they lie in the {other} one, {_text(file.size(other))} (EXIF orientation "
        f"{file.orientation}); set fetch.boxes_frame to the one in which boxes were drawn: stored or upright"
    )


def _text(size: Size) -> str:
    return f"{size[1]}x{size[0]}"


def _turned(boxes: NDArray[np.float64], file: ImageFile) -> NDArray[np.float64]:
    """Return boxes (N, 4) xyxy of the stored frame in the upright one (EXIF 2.32, tag 0x0112)."""
    if file.orientation >= 5:
        boxes = boxes[:, [1, 0, 3, 2]]
    if file.orientation in (2, 3, 6, 7):
        boxes = np.stack([file.width - boxes[:, 2], boxes[:, 1], file.width - boxes[:, 0], boxes[:, 3]], axis=1)
    if file.orientation in (3, 4, 7, 8):
        boxes = np.stack([boxes[:, 0], file.height - boxes[:, 3], boxes[:, 2], file.height - boxes[:, 1]], axis=1)
    return boxes
