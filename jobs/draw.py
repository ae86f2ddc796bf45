"""Draws the boxes of one record into its image."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from detector.common.drawing import draw_detections
from detector.common.errors import ImageError
from detector.runtime.images import decode_image
from jobs.errors import ItemError, StorageError, UsageError
from jobs.formats import ERRORS
from jobs.lookup import FoundRecord
from jobs.storage import FolderStore, Store


def draw_record(source: Store, found: FoundRecord, labels: Sequence[str], file: Path) -> None:
    """Read the image of a record from INPUT, and write it to `file` with the record's boxes.

    Raises UsageError when the image is not the one of the record any more, and StorageError when `file` cannot be
    written.
    """
    record = found.record
    if isinstance(source, FolderStore) and file.resolve().is_relative_to(source.root):
        raise UsageError(f"{file}: lies in INPUT, {source.root}, which is only read; choose another file")
    try:
        content = source.fetch(found.planned)
        pixels = decode_image(content.decoded())
    except (ImageError, ItemError) as error:
        raise UsageError(f"{record.image}: {ERRORS[error.status]}; only its record can be shown") from error
    if content.etag != record.etag:
        raise UsageError(f"{record.image}: {ERRORS['changed']}; only its record can be shown")
    boxes = np.array([(box.x, box.y, box.x + box.width, box.y + box.height) for box in record.boxes], np.float32)
    numbers = np.array([labels.index(box.label) for box in record.boxes], np.int64)
    scores = np.array([box.score for box in record.boxes])
    try:
        draw_detections(pixels, boxes, numbers, scores, labels).save(file)
    except (OSError, ValueError) as error:  # Pillow does not know every extension
        raise StorageError(f"{file}: cannot be written: {error}; give a path that ends with .png or .jpg") from error
