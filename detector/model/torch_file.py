"""Files that torch wrote."""

from __future__ import annotations

import pickle
import struct
from pathlib import Path
from typing import IO, Any

import torch

# What torch.load raises for damaged files and for other ones: it reads pickles, whose bytes may mean anything.
UNREADABLE = (
    pickle.UnpicklingError, RuntimeError, EOFError, LookupError, ValueError, TypeError, AttributeError, struct.error
)  # fmt: skip


def read_torch(file: Path | IO[bytes]) -> dict[str, Any]:
    """The dictionary that a torch file holds, on the CPU. Raises one of UNREADABLE, or OSError."""
    content = torch.load(file, map_location="cpu", weights_only=True)
    if not isinstance(content, dict):
        raise TypeError(f"it holds a {type(content).__name__}, not a dictionary")
    return content
