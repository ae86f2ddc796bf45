"""Read the records of a run as an analyst does."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def records(output: Path) -> list[dict[str, Any]]:
    """Return the records in the plan's order."""
    parts = sorted((output / "boxes").glob("*.jsonl"))
    return [json.loads(line) for part in parts for line in part.read_bytes().split(b"\n") if line]
