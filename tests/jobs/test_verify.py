"""`boxcar verify`: a published run agrees with its digests, and whatever changes in it is named."""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from jobs.formats import Plan, sha256
from jobs.verify import LATER_FIELDS, _may_lack
from tests.jobs.helpers import write_photos

Boxcar = Callable[..., Any]
FLIPS = 4


@pytest.fixture
def published(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> Path:
    """The OUTPUT of a run over five photographs in three parts, which latest.json names."""
    photos = write_photos(tmp_path / "photos", 5)
    options = ["--part-size", "2", "--latest", tmp_path / "latest.json"]
    boxcar("run", photos, tmp_path / "run", "--model", artifact, *options)
    return tmp_path / "run"


def covered(run: Path) -> list[Path]:
    """The files that verify checks."""
    files = [path for path in run.rglob("*") if path.is_file() and path.name != "report.html"]
    return sorted(path for path in files if path.parent.name != "stats")


def test_a_published_run_agrees_with_its_digests(boxcar: Boxcar, published: Path) -> None:
    done = boxcar("verify", published, "--latest", published.parent / "latest.json", "--images", 5)
    assert f"{len(covered(published)) + 5} files and images" in done.stdout
    noted = sha256((published / "manifest.json").read_bytes())
    boxcar("verify", published, "--sha256", noted)
    assert "with --latest or --sha256" in boxcar("verify", published).stdout


def test_every_flipped_byte_and_every_missing_file_is_named(boxcar: Boxcar, published: Path) -> None:
    random.seed(0)
    for path in covered(published):
        whole = path.read_bytes()
        name = path.relative_to(published).as_posix()
        for place in random.sample(range(len(whole)), min(FLIPS, len(whole))):
            path.write_bytes(whole[:place] + bytes([whole[place] ^ (1 << random.randrange(8))]) + whole[place + 1 :])
            done = boxcar("verify", published, "--latest", published.parent / "latest.json", code=4)
            assert f"{name}: " in done.stdout and "checks failed" in done.stderr, (name, place)
        path.unlink()
        done = boxcar("verify", published, code=2 if name == "manifest.json" else 4)
        assert f"{name}: missing" in done.stdout or "manifest.json: not there" in done.stderr
        path.write_bytes(whole)
    boxcar("verify", published)


def test_without_the_manifests_digest_what_it_repeats_and_counts_is_checked(boxcar: Boxcar, published: Path) -> None:
    manifest = published / "manifest.json"
    whole = manifest.read_text()
    for old, new, named in (
        ('"images": 5', '"images": 6', "images"),
        ('"ok": 5', '"ok": 4', "statuses"),
        ('"status": "valid"', '"status": "valid" ', "boxcar writes it"),
        ('"status": "valid"', '"status": "rejected"', "validation.json in status"),
        ('"max_failed": 0.1', '"max_failed": 0.9', "validation.json in max_failed"),
        ('"strict": []', '"strict": ["score_drift"]', "validation.json in strict"),
        ('"artifact_name": "', '"artifact_name": "not ', "model.json in artifact_name"),
        ('"params_digest": "p', '"params_digest": "q', "model.json in params_digest"),
    ):
        assert old in whole
        manifest.write_text(whole.replace(old, new, 1))
        done = boxcar("verify", published, code=4)
        assert "manifest.json: " in done.stdout and named in done.stdout, (old, done.stdout)
    for newest in (('"prefix_depth"',), ('"prefix_depth"', '"profile_sha256"')):  # as if it were of an older version
        lines = whole.splitlines(keepends=True)
        manifest.write_text("".join(line for line in lines if not line.strip().startswith(newest)))
        assert "boxcar writes it" in boxcar("verify", published, code=4).stdout


def test_what_a_manifest_of_an_older_version_lacks() -> None:
    """All fields from one on, as they came; those of the newest group, only where the records are older too."""
    old, new = (Plan.model_construct(records_version=version) for version in (3, 4))
    newest = {"prefix_depth", "profile_sha256"}
    for fields, allowed in (
        (set(), True),
        (newest, True),
        ({"lineage.plan_sha256"} | newest, True),
        (set().union(*LATER_FIELDS), True),
        ({"profile_sha256"}, False),
        ({"tile"} | newest, False),
        ({"hidden"}, False),
        ({"strict"} | newest, False),
    ):
        assert _may_lack(old, fields) == allowed, fields
        assert _may_lack(new, fields) == (not fields)


def test_images_that_changed_or_went_away_are_named(boxcar: Boxcar, published: Path) -> None:
    photos = sorted(path for path in (published.parent / "photos").rglob("*") if path.is_file())
    photos[1].unlink()
    shutil.copyfile(photos[0], photos[3])
    boxcar("verify", published)  # INPUT is not read
    done = boxcar("verify", published, "--images", 5, code=4)
    assert f"{photos[1]}: missing" in done.stdout and f"{photos[3]}: changed" in done.stdout
    assert photos[0].name not in done.stdout


def test_the_name_of_an_image_writes_no_line_of_its_own(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    hostile = write_photos(tmp_path / "photos", 1) / "evil\x1b[31m\nverified: all.png"
    shutil.copyfile(tmp_path / "photos/sub/0000.png", hostile)
    boxcar("run", tmp_path / "photos", tmp_path / "run", "--model", artifact)
    hostile.unlink()
    done = boxcar("verify", tmp_path / "run", "--images", 2, code=4)
    assert r"/evil\x1b[31m\nverified: all.png: missing" in done.stdout
    assert r"evil\x1b[31m\nverified: all.png" in done.stderr and "\nverified" not in done.output


def test_what_is_asked_wrongly_is_an_error(boxcar: Boxcar, published: Path, artifact: Path, tmp_path: Path) -> None:
    latest = tmp_path / "latest.json"
    assert "give one of them" in boxcar("verify", published, "--latest", latest, "--sha256", "0", code=2).stderr
    assert "--latest" in boxcar("verify", published, "--latest", tmp_path / "none.json", code=2).stderr
    other = shutil.copytree(published, tmp_path / "other")
    assert "names" in boxcar("verify", other, "--latest", latest, code=2).stderr
    boxcar("plan", tmp_path / "photos", tmp_path / "planned", "--model", artifact)
    assert "boxcar finish" in boxcar("verify", tmp_path / "planned", code=2).stderr
