"""Finds the photographs that a benchmark was given."""

from __future__ import annotations

from pathlib import Path

import click

_SUFFIXES = {".jpg", ".jpeg", ".png"}


def find_photographs(folder: Path) -> list[Path]:
    """Return the JPEG and PNG files below a folder, by name. Raises click.ClickException if there are none."""
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in _SUFFIXES)
    if not found:
        raise click.ClickException(f"{folder}: has no .jpg, .jpeg or .png file")
    return found
