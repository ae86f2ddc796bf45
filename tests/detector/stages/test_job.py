"""The training job's parts; tests/test_pipeline.py stops and resumes a whole one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import boto3
import pytest

from detector.common.errors import TrainingError
from detector.stages import job
from detector.stages.job import Mirror, run_job
from tests.support.local_s3 import LocalS3


@pytest.fixture(params=["folder", "bucket"])
def place(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[str, Path]:
    """Where copies lie: the URI, and the folder in which the server keeps them."""
    if request.param == "folder":
        return str(tmp_path / "copies"), tmp_path / "copies"
    server: LocalS3 = request.getfixturevalue("s3_server")
    for name, value in server.environment().items():
        if name.startswith("AWS_"):
            monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_CONFIG_FILE")  # s3fs refuses /dev/null
    monkeypatch.delenv("AWS_SHARED_CREDENTIALS_FILE")
    monkeypatch.setenv("HOME", str(tmp_path))
    bucket = f"job-{len(list(server.root.iterdir()))}"
    boto3.session.Session().client("s3", endpoint_url=server.endpoint).create_bucket(Bucket=bucket)
    return f"s3://{bucket}/run/checkpoints/", server.root / bucket / "run/checkpoints"


def test_what_was_saved_is_restored_where_nothing_is(place: tuple[str, Path], tmp_path: Path) -> None:
    uri, copies = place
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    mirror = Mirror(here, uri)
    assert mirror.restore() == []  # the first try of all
    mirror.save()
    (here / "a.pt").write_bytes(b"epoch 1")
    (here / "a.part").write_bytes(b"half of ep")
    mirror.save()
    assert [path.name for path in copies.iterdir()] == ["a.pt"]
    (here / "a.pt").write_bytes(b"epoch 2, longer")
    mirror.save()
    assert Mirror(there, uri).restore() == ["a.pt"]
    assert (there / "a.pt").read_bytes() == b"epoch 2, longer"


def test_what_is_here_is_newer_than_its_copy(place: tuple[str, Path], tmp_path: Path) -> None:
    uri, copies = place
    copies.mkdir(parents=True)
    (copies / "a.pt").write_bytes(b"epoch 1")
    here = tmp_path / "here"
    here.mkdir()
    (here / "a.pt").write_bytes(b"epoch 7")
    mirror = Mirror(here, uri)
    assert mirror.restore() == []
    mirror.save()
    assert (here / "a.pt").read_bytes() == (copies / "a.pt").read_bytes() == b"epoch 7"


def test_nothing_is_copied_twice(tmp_path: Path) -> None:
    here, copies = tmp_path / "here", tmp_path / "copies"
    here.mkdir()
    (here / "a.pt").write_bytes(b"epoch 1")
    mirror = Mirror(here, str(copies))
    mirror.save()
    os.utime(copies / "a.pt", (1, 1))
    mirror.save()
    assert (copies / "a.pt").stat().st_mtime == 1


def test_a_repository_or_a_revision_that_is_not_there_ends_the_job(tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="git clone ended with"):
        run_job(str(tmp_path / "nothing"), "main", str(tmp_path / "copies"), tmp_path / "work")


def _repository(folder: Path) -> Path:
    folder.mkdir()
    for words in (
        ("init", "--quiet", "--initial-branch", "main"),
        ("-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "--allow-empty", "-m", "one"),
    ):
        subprocess.run(["git", *words], cwd=folder, check=True, capture_output=True)
    return folder


def test_only_the_repository_and_the_revision_that_were_asked_for_are_run(tmp_path: Path) -> None:
    one, other = _repository(tmp_path / "one"), _repository(tmp_path / "other")
    copies, work = str(tmp_path / "copies"), tmp_path / "work"
    with pytest.raises(TrainingError, match="later: no branch, tag or commit"):
        run_job(str(one), "later", copies, work)
    with pytest.raises(TrainingError, match=r"holds a clone of .*one, not of .*other"):
        run_job(str(other), "main", copies, work)


def test_a_copy_that_fails_costs_no_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A program in dvc's place, and a bucket that refuses for a while."""
    program = tmp_path / "bin/dvc"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nsleep 0.5\ntouch finished\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(job, "SAVE_SECONDS", 0.1)

    def refuse(self: Mirror) -> None:
        raise PermissionError("access denied")

    monkeypatch.setattr(Mirror, "save", refuse)
    work = tmp_path / "work"
    run_job(str(_repository(tmp_path / "one")), "main", str(tmp_path / "copies"), work)
    assert (work / "finished").exists()
    assert "a checkpoint could not be copied: access denied" in capsys.readouterr().err


@pytest.mark.parametrize("uri", ["nosuch://bucket/prefix"])
def test_a_place_that_cannot_be_is_named(tmp_path: Path, uri: str) -> None:
    with pytest.raises(TrainingError, match="--checkpoints nosuch://bucket/prefix"):
        run_job(str(tmp_path), "main", uri, tmp_path / "work")
