"""Errors for people: each says what is wrong, where, and what to do."""

from __future__ import annotations

from typing import Literal


class DetectorError(Exception):
    """The base of all errors that the commands report in one line, without a traceback."""


class ParamsError(DetectorError):
    """`params.yaml` holds a key or a value that the pipeline does not know."""


class ArchiveError(DetectorError):
    """An archive is missing or truncated, has the wrong checksum, or cannot be unpacked safely."""


class AnnotationError(DetectorError):
    """An annotation file cannot be read, or names a class or an image that does not exist."""


class ArtifactError(DetectorError):
    """A detector artifact is missing, damaged, or of a version this code does not read."""


class DeviceError(DetectorError):
    """The device that was asked for cannot be used here."""


class WeightsError(DetectorError):
    """A backbone's or a detector's weights are not available; the message says which file to put where."""


class ProjectError(DetectorError):
    """A DVC project does not give the artifact that was asked for; wrong_usage: the project is not the reason."""

    def __init__(self, reason: str, *, wrong_usage: bool = False) -> None:
        super().__init__(reason)
        self.wrong_usage = wrong_usage


class TrainingError(DetectorError):
    """A training cannot start or continue with these settings."""


class ImageError(DetectorError):
    """One image cannot be decoded.

    `status` is the status that the batch job writes into its record.
    """

    def __init__(self, status: Literal["empty", "unreadable", "too_large"], reason: str) -> None:
        super().__init__(reason)
        self.status = status


class FormatError(ImageError):
    """One image is whole, and of a kind that is not read; the message says of which, and what to do."""

    def __init__(self, kind: str, remedy: str) -> None:
        super().__init__("unreadable", f"{kind}: {remedy}")
        self.kind = kind
