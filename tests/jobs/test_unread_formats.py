"""An image of a format that is not read has a record like others, and the command says which format it is."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pillow_heif
import pytest
from PIL import Image

from tests.jobs.helpers import Boxcar, encoded, records_of
from tests.support.faults.planted import plant


def heic(path: Path) -> None:
    image = Image.open(io.BytesIO(encoded(5, 70, 50)))
    pillow_heif.from_pillow(image).save(path)


@pytest.fixture
def no_heif(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The extra is not installed, for this process and for those that decode."""
    monkeypatch.setitem(sys.modules, "pillow_heif", None)
    monkeypatch.syspath_prepend(plant(tmp_path / "hook", "import sys; sys.modules['pillow_heif'] = None"))


def test_heic_and_avif_are_read(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    heic(photos / "a.HEIC")
    Image.open(io.BytesIO(encoded(5, 70, 50))).save(photos / "b.avif")
    heic(photos / "c.jpg")
    boxcar("run", photos, tmp_path / "run", "--model", artifact, "--extensions", "heic,avif,jpg")
    assert [(r.status, r.width, r.height) for r in records_of(tmp_path / "run")] == [("ok", 70, 50)] * 3


@pytest.mark.usefixtures("no_heif")
def test_a_plan_of_heic_needs_its_reader(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    photos, output = tmp_path / "photos", tmp_path / "run"
    photos.mkdir()
    heic(photos / "a.heic")
    command = ("run", photos, output, "--model", artifact, "--extensions", "heic,jpg")
    refused = boxcar(*command, code=2)
    assert "--extensions heic" in refused.stderr and "pip install '.[heif]'" in refused.stderr
    assert not (output / "boxes").exists()
    monkeypatch.undo()  # the extra is installed: the same command goes on
    boxcar(*command)
    assert [record.status for record in records_of(output)] == ["ok"]


@pytest.mark.usefixtures("no_heif")
def test_each_reason_is_named_once(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    for name in ("a.jpg", "b.jpg"):
        heic(photos / name)
    (photos / "c.jpg").write_bytes(b"\xff\x0a" + bytes(99))
    for name in ("d.png", "e.png"):
        Image.fromarray(np.full((30, 40), 4095, np.uint16)).save(photos / name)
    for number in range(60):
        (photos / f"ok-{number}.png").write_bytes(encoded(number))
    result = boxcar("run", photos, tmp_path / "run", "--model", artifact)
    records = records_of(tmp_path / "run")
    assert [record.status for record in records[:5]] == ["unreadable"] * 5
    assert records[0].error == "not an image, or damaged"  # the text stands in published digests
    warnings = [line for line in result.stderr.splitlines() if line.startswith(f"warning: {photos}")]
    assert len(warnings) == 3
    assert "HEIC: install the extra: pip install '.[heif]'" in "".join(warnings)
    assert f"{photos / 'c.jpg'}: there is no reader for its format, JPEG XL" in "".join(warnings)
    assert ".png: its 16-bit samples use a quarter of their range at most" in "".join(warnings)
