"""Reads files that torch wrote."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import IO, Any

import torch

# The errors of torch.load for damaged and for other files; it reads pickles, so that many errors are possible.
UNREADABLE = (
    pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, struct.error
)  # fmt: skip


def read_torch(file: Path | IO[bytes]) -> dict[str, Any]:
    """Return the dictionary in a torch file, on the CPU. Raises one of UNREADABLE, or OSError."""
    content = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise TypeError(f"it holds a {type(content).__name__}, not a dictionary")
    return content
