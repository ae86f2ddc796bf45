"""Computes the digest by which an artifact names its data."""

from __future__ import annotations

import hashlib
from pathlib import Path

from detector.common.digests import sha256_of
from detector.stages.layout import SPLITS


def data_digest(dataset: Path) -> str:
    """Return the sha256 over the names and contents of the annotation files and all images."""
    digest = hashlib.sha256()
    files = [dataset / f"{split}.json" for split in SPLITS]
    for path in files + sorted(path for path in (dataset / "images").rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(dataset).as_posix()} {sha256_of(path)}\n".encode())
    return digest.hexdigest()
