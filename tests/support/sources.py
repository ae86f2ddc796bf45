"""Reads one source as the stage `fetch` does, and writes images for it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from PIL import Image

from detector.data.annotations import CocoDataset
from detector.data.formats import READERS
from detector.data.frames import FrameRules
from detector.data.places import Places
from detector.data.settings import FetchSettings
from detector.data.stated import Stated

# Photographs are rarely square.
WIDTH, HEIGHT = 60, 40


def write_image(path: Path, orientation: int = 1, colour: int = 90) -> Path:
    """Write an image of 60x40 stored pixels with an EXIF orientation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.new("RGB", (WIDTH, HEIGHT), (colour, 255 - colour, 7)).save(path, exif=exif)
    return path


def stated(rules: FrameRules | None = None, **source: Any) -> dict[str, Stated]:
    """Return the splits of a source of files, as they are stated."""
    (settings,) = FetchSettings.model_validate({"sources": [source]}).sources
    return READERS[settings.format](settings, Places(Path("not there")), 1, rules or FrameRules())


def objects(dataset: CocoDataset) -> dict[str, list[tuple[str, list[float], bool]]]:
    """Return, by file name, the class, the box and `ignore` of each object."""
    return {
        image.file_name: [
            (dataset.classes[label], [round(value, 3) for value in box], ignore)
            for label, box, ignore in zip(image.labels, image.boxes.tolist(), image.ignore.tolist(), strict=True)
        ]
        for image in dataset.images
    }


def notes(part: Stated) -> list[str]:
    """Return the sentences about what was decided, with their numbers."""
    return [note.format(count) for note, count in part.notes.items() if count]
