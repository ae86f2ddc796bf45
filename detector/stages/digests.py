"""The digest by which an artifact names the data that it was made from."""

from __future__ import annotations

import hashlib
from pathlib import Path

from detector.common.digests import sha256_of
from detector.stages.layout import SPLITS


def data_digest(dataset: Path) -> str:
    """sha256 over the annotation files and all images, by name."""
    digest = hashlib.sha256()
    files = [dataset / f"{split}.json" for split in SPLITS]
    for path in files + sorted(path for path in (dataset / "images").rglob("*") if path.is_file()):
        digest.update(f"{path.relative_to(dataset).as_posix()} {sha256_of(path)}\n".encode())
    return digest.hexdigest()
