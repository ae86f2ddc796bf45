"""The training job's parts; tests/test_pipeline.py stops and resumes a whole one."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from detector.common.errors import TrainingError
from detector.stages.job import run_job


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


def test_the_stages_run_in_the_clone_and_know_where_checkpoints_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program in dvc's place notes how it was called."""
    program = tmp_path / "bin/dvc"
    program.parent.mkdir()
    program.write_text('#!/bin/sh\necho "$1 $BOXCAR_CHECKPOINTS" >> called\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.chdir(tmp_path)
    for place, expected in (("copies", str(tmp_path / "copies")), ("s3://bucket/run", "s3://bucket/run")):
        work = tmp_path / f"work-{len(place)}"
        run_job(str(_repository(tmp_path / f"repo-{len(place)}")), "main", place, work)
        assert (work / "called").read_text() == f"repro {expected}\npush \n"


def test_a_pipeline_that_fails_ends_the_job_with_its_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin/dvc"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nexit 7\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(TrainingError, match="dvc repro ended with 7"):
        run_job(str(_repository(tmp_path / "one")), "main", str(tmp_path / "copies"), tmp_path / "work")
