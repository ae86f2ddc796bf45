"""One camera of two goes dark overnight: the run names and shows it, and keeps its verdict without the run before."""

from __future__ import annotations

import io
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs.formats import Manifest, Plan, RunProfile, Validation, sha256
from jobs.rules import pixels, subjects
from tests.jobs.helpers import Boxcar, part_bytes, records_of

IMAGES = 12


def _photo(seed: int, light: float) -> bytes:
    random = np.random.default_rng(seed)
    small = random.integers(30, 220, (5, 6, 3)).astype(np.uint8)
    pixels = np.asarray(Image.fromarray(small).resize((48, 40), Image.Resampling.BICUBIC)) * light
    file = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(file, "PNG")
    return file.getvalue()


def _cameras(folder: Path, night: int, light: float) -> Path:
    """Two cameras; `light`: of the second one, 1 is daylight."""
    for camera, own in (("east", 1.0), ("west", light)):
        (folder / camera).mkdir(parents=True, exist_ok=True)
        for number in range(IMAGES):
            data = _photo(1000 * night + 100 * (camera == "west") + number, own)
            (folder / camera / f"{number:03d}.png").write_bytes(data)
    return folder


def _manifest(output: Path) -> Manifest:
    return Manifest.model_validate_json((output / "manifest.json").read_bytes())


@pytest.mark.slow
def test_a_camera_that_goes_dark(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in (pixels, subjects):
        monkeypatch.setattr(module, "PREFIX_IMAGES", IMAGES)
    photos, first, second = tmp_path / "photos", tmp_path / "first", tmp_path / "second"
    options = ("--model", artifact, "--part-size", 10)
    boxcar("run", _cameras(photos, 1, 1.0), first, *options)
    assert not {"darkness_drift", "blur_drift"} & set(_manifest(first).warnings)
    assert all(record.image_quality for record in records_of(first))

    _cameras(photos, 2, 0.1)
    result = boxcar("run", photos, second, *options, "--since", first)
    manifest, profile = _manifest(second), (second / "quality/profile.json").read_bytes()
    assert "warning: darkness_drift" in result.stderr and "darkness_drift" in manifest.warnings
    assert manifest.profile_sha256 == sha256(profile)
    assert set(RunProfile.model_validate_json(profile).prefixes) == {"east/", "west/"}
    verdict = Validation.model_validate_json((second / "quality/validation.json").read_bytes())
    (dark,) = (rule for rule in verdict.rules if rule.rule == "darkness_drift")
    assert dark.checked == 3 and "west/ " in dark.observed and "on the run before" in dark.observed
    assert "east/" not in dark.observed and dark.examples
    assert all("/west/" in image for image in dark.examples)
    page = (second / "report.html").read_text()
    assert "breaks darkness_drift" in page and dark.examples[0] in page

    boxcar("verify", second)
    (second / "quality/profile.json").write_bytes(profile.replace(b'"prefix_depth":1', b'"prefix_depth":2'))
    assert "quality/profile.json" in boxcar("verify", second, code=4).output
    (second / "quality/profile.json").write_bytes(profile)

    # Resumed, the same bytes come. A rule may reject, and prefixes may be left out: half of the run is dark.
    strict = tmp_path / "strict"
    shutil.copytree(second, strict)
    (strict / "manifest.json").unlink()
    (strict / "stats/part-0000001.json").unlink()
    boxcar("work", strict)
    assert part_bytes(strict) == part_bytes(second)
    boxcar("finish", strict, "--strict", "darkness_drift", "--prefix-depth", 0, code=3)
    assert _manifest(strict).prefix_depth == 0
    rules = Validation.model_validate_json((strict / "quality/validation.json").read_bytes()).rules
    assert {rule.checked for rule in rules if rule.rule.endswith("_drift")} == {1}

    # The plan keeps a copy of what is compared with.
    shutil.rmtree(first)
    boxcar("validate", second)
    assert (second / "quality/validation.json").read_bytes() == verdict.pretty()
    (second / "quality/previous-profile.json").unlink()
    assert "quality/profile.json of the previous run: missing" in boxcar("validate", second, code=2).stderr


def test_a_run_of_an_older_version_keeps_its_rules(
    boxcar: Boxcar, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its records have no quality, and its manifest no profile: it is judged as it was, and every command reads it."""
    monkeypatch.setattr("jobs.plan.RECORDS_VERSION", 3)
    photos, output = _cameras(tmp_path / "photos", 1, 1.0), tmp_path / "old"
    boxcar("run", photos, output, "--model", artifact)
    rules = Validation.model_validate_json((output / "quality/validation.json").read_bytes()).rules
    assert len(rules) == 15 and {rule.checked for rule in rules if rule.rule.endswith("_drift")} == {1}
    assert all(b"image_quality" not in data for data in part_bytes(output).values())
    assert _manifest(output).prefix_depth == 0
    boxcar("verify", output)  # as an older plan that is finished now
    boxcar("finish", output)
    old = (output / "manifest.json").read_text().splitlines(keepends=True)
    new_fields = ('"prefix_depth"', '"profile_sha256"')
    (output / "manifest.json").write_text("".join(line for line in old if not line.strip().startswith(new_fields)))
    (output / "quality/profile.json").unlink()
    monkeypatch.undo()
    for arguments in (
        ("verify", output),
        ("finish", output),
        ("validate", output),
        ("report", output),
        ("diff", output, output),
    ):
        boxcar(*arguments)
    result = boxcar("plan", photos, tmp_path / "next", "--model", artifact, "--since", output)
    assert "its records are of version 3, and this boxcar makes version 4" in result.stderr
    plan = Plan.model_validate_json((tmp_path / "next/plan.json").read_bytes())
    assert plan.since is not None and plan.since.output is None and plan.since.profile_sha256 is None
