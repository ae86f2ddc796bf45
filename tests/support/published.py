"""Writes published runs with records of a test's own, in the format of the batch job."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jobs.formats import ERRORS, BoxRecord, Cost, Lineage, Manifest, PartEntry, Record, encode_lines, sha256

NOW = "2026-01-02T03:04:05Z"


def box(label: str, score: float, x: float = 5, y: float = 5, width: float = 20, height: float = 20) -> BoxRecord:
    """A box; by default all lie at one place."""
    return BoxRecord(label=label, score=score, x=x, y=y, width=width, height=height)


def record(
    image: str, *boxes: BoxRecord, etag: str | None = "", status: str = "ok", size: tuple[int, int] | None = (60, 40)
) -> Record:
    """The record of an image. etag: by default the MD5 of the file; size: width and height."""
    if etag == "":
        etag = hashlib.md5(Path(image).read_bytes()).hexdigest()
    width, height = size if size and status == "ok" else (None, None)
    return Record(
        run="0" * 8, image=image, etag=etag, version_id=None, bytes=1, width=width, height=height, status=status,
        error=ERRORS[status], boxes=list(boxes),
    )  # fmt: skip


def write_run(
    output: Path,
    input: str,
    records: Sequence[Record],
    *,
    card: str = '{"operating_score": 0.4, "class_scores": {"cat": 0.6}}',
    part_size: int = 2,
    labels: Sequence[str] = ("cat", "dog"),
    **fields: Any,
) -> Path:
    """Write manifest.json, the parts and model/model.json of a run over `input`; `fields` go into the manifest."""
    (output / "boxes").mkdir(parents=True, exist_ok=True)
    (output / "model").mkdir(exist_ok=True)
    (output / "model/model.json").write_text(card)
    parts = []
    for start in range(0, len(records), part_size):
        own = list(records[start : start + part_size])
        data, key = encode_lines(own), f"boxes/part-{start // part_size:07d}.jsonl"
        (output / key).write_bytes(data)
        parts.append(PartEntry(key=key, count=len(own), bytes=len(data), sha256=sha256(data)))
    counts = Counter(found.label for own in records for found in own.boxes)
    content = {
        "run": "0" * 8, "status": "valid", "planned_at": NOW, "published_at": NOW, "input": input,
        "images": len(records), "statuses": dict(Counter(own.status for own in records)),
        "boxes": {label: counts[label] for label in labels}, "min_score": 0.1, "max_failed": 0.1,
        "validation_sha256": "0" * 64, "parts": parts, "cost": Cost(cpu_seconds=1, bytes_read=1),
        "lineage": Lineage(
            plan_digest="1" * 64, artifact_name="teacher", artifact_sha256=sha256(card.encode()), onnx_sha256="2" * 64,
            git_revision=None, data_digest=None, params_digest=None, boxcar=None, onnxruntime=["1.20"],
        ),
    } | fields  # fmt: skip
    (output / "manifest.json").write_bytes(Manifest(**content).pretty())
    return output
