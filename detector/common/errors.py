"""The errors that a person can act on: each says what is wrong, where, and what to do."""

from __future__ import annotations

from typing import Literal


class DetectorError(Exception):
    """Base of every error that the commands report in one line, without a traceback."""


class ParamsError(DetectorError):
    """`params.yaml` holds a key or a value that the pipeline does not know."""


class ArchiveError(DetectorError):
    """An archive is missing, truncated, has the wrong checksum, or may not be unpacked safely."""


class AnnotationError(DetectorError):
    """An annotation file cannot be read, or names a class or an image that does not exist."""


class ArtifactError(DetectorError):
    """A detector artifact is missing, damaged, or of a version this code does not read."""


class WeightsError(DetectorError):
    """A backbone's weights cannot be had; the message says which file to place where."""


class TrainingError(DetectorError):
    """Training cannot start or go on with these settings."""


class ImageError(DetectorError):
    """One image cannot be turned into pixels.

    `status` is the record status that the batch job writes for it.
    """

    def __init__(self, status: Literal["empty", "unreadable", "too_large"], reason: str) -> None:
        super().__init__(reason)
        self.status = status
