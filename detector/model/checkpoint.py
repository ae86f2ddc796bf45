"""Stores the state of a training in a file or a bucket, as a whole or not at all; only the same training resumes it."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import fsspec
import torch
from botocore.exceptions import BotoCoreError
from fsspec.implementations.local import LocalFileSystem

from detector.common.errors import TrainingError, WeightsError
from detector.common.files import replaced
from detector.model.torch_file import UNREADABLE, read_torch


def save_checkpoint(place: str, state: dict[str, Any]) -> None:
    """Replace the file or object at `place`, a path or an s3:// URI, in one step.

    A killed process leaves the old one or the new one. A failure is only a warning on stderr, because it matters only
    if the training is killed before the next epoch ends.
    """
    try:
        files, path = _files(place)
        if isinstance(files, LocalFileSystem):
            with replaced(Path(path)) as file:
                torch.save(state, file)
        else:
            data = io.BytesIO()
            torch.save(state, data)
            files.pipe_file(path, data.getvalue())
    except (OSError, BotoCoreError) as error:
        print(f"warning: {place}: the checkpoint could not be written: {error}", file=sys.stderr, flush=True)


def load_checkpoint(place: str, identity: str) -> dict[str, Any] | None:
    """Return the state at `place` that was saved under this identity (a digest of code, settings and data), or None.

    Raises WeightsError if the file is damaged, and TrainingError if the place cannot be read.
    """
    try:
        files, path = _files(place)
        if not files.exists(path):
            return None
        data = io.BytesIO(files.cat_file(path))
    except (OSError, BotoCoreError) as error:
        raise TrainingError(f"{place}: cannot be read: {error}; check the place and the credentials") from error
    try:
        state = read_torch(data)
    except UNREADABLE as error:
        raise WeightsError(f"{place} cannot be read: {error}; delete it to train from the start") from error
    return state if state.get("identity") == identity else None


def get_file(place: str, target: Path) -> None:
    """Copy a file or object at `place`, a path or an s3:// URI, to `target`; nothing if there is none.

    Raises TrainingError if the place cannot be read.
    """
    try:
        files, path = _files(place)
        if files.exists(path):
            files.get_file(path, str(target))
    except (OSError, BotoCoreError) as error:
        raise TrainingError(f"{place}: cannot be read: {error}; check the place and the credentials") from error


def remove_others(folder: str, kept: str) -> None:
    """Delete all checkpoints in `folder` except `kept`; a finished training calls this."""
    files, path = _files(folder)
    for other in files.glob(f"{path}/*.pt"):
        if other != _files(kept)[1]:
            files.rm_file(other)


def _files(place: str) -> tuple[Any, str]:
    """Return the file system of a path or URI, and the path on it."""
    try:
        # A shared instance would remember its earlier listings and its server.
        found: tuple[Any, str] = fsspec.core.url_to_fs(place.rstrip("/"), skip_instance_cache=True)
    except (ValueError, ImportError) as error:
        raise TrainingError(f"{place}: {error}; name a folder or s3://bucket/prefix") from error
    return found
