"""Training state on disk: written whole or not at all, and only ever resumed by the training that wrote it."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import torch

from detector.common.errors import WeightsError
from detector.model.torch_file import UNREADABLE, read_torch


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Replace `path` in one step: a kill leaves the old file or the new one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(".part")
    with temporary.open("wb") as file:
        torch.save(state, file)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)


def load_checkpoint(path: Path, identity: str) -> dict[str, Any] | None:
    """The state that was saved under this identity (a digest of params and data), or None.

    Raises WeightsError for a damaged file.
    """
    if not path.is_file():
        return None
    try:
        state = read_torch(path)
    except UNREADABLE as error:
        raise WeightsError(f"{path} cannot be read: {error}; delete it to train from the start") from error
    return state if state.get("identity") == identity else None
