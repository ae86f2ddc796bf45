"""Two published runs over almost the same images, made once; and what a test may change in a copy."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from click.testing import CliRunner

from jobs.cli import main
from jobs.formats import Manifest, Record, encode_lines, sha256
from tests.jobs.helpers import encoded, write_photos


@dataclass(frozen=True)
class Runs:
    """`second` is of another artifact; between the runs one image was added, one removed, one changed, one damaged."""

    photos: Path
    first: Path
    second: Path


@pytest.fixture(scope="session")
def made_runs(artifact: Path, make_artifact: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Not to be changed by a test."""
    folder = tmp_path_factory.mktemp("formats")
    photos = write_photos(folder / "photos", 9)
    (photos / "broken.png").write_bytes(b"no picture")
    (photos / "=1+1, 'ü'\n.png").write_bytes(encoded(50))
    _run(photos, folder / "first", artifact, part_size=4)
    (photos / "0001.png").unlink()
    (photos / "0002.png").write_bytes(encoded(70))
    (photos / "0004.png").write_bytes(b"damaged")
    (photos / "new.png").write_bytes(encoded(71))
    other = make_artifact(folder / "other", bias=-0.5, proposals=False)
    _run(photos, folder / "second", other, part_size=5)
    return Runs(photos, folder / "first", folder / "second")


def _run(photos: Path, output: Path, artifact: Path, part_size: int) -> None:
    arguments = ["run", photos, output, "--model", artifact, "--part-size", part_size, "--max-failed", 0.5]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output


@pytest.fixture
def first(made_runs: Runs, tmp_path: Path) -> Path:
    """A copy of the first run that a test may change."""
    return Path(shutil.copytree(made_runs.first, tmp_path / "first"))


def publish(output: Path, records: list[Record], *, part_size: int = 2, **fields: object) -> None:
    """Put these records in place of a run's, with a manifest that lists them; `fields` go into the manifest."""
    manifest = Manifest.model_validate_json((output / "manifest.json").read_bytes())
    shutil.rmtree(output / "boxes")
    (output / "boxes").mkdir()
    parts = []
    for start in range(0, len(records), part_size):
        lines = records[start : start + part_size]
        data = encode_lines(lines)
        key = f"boxes/part-{start // part_size:07d}.jsonl"
        (output / key).write_bytes(data)
        parts.append({"key": key, "count": len(lines), "bytes": len(data), "sha256": sha256(data)})
    changed = manifest.model_dump(by_alias=True) | {"parts": parts, "images": len(records)} | fields
    (output / "manifest.json").write_bytes(Manifest.model_validate(changed).pretty())
