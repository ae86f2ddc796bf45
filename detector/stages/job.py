"""Runs the pipeline as a job on a machine that may be stopped at any time.

The job runs a git revision. Data and results are in the project's DVC remote, and checkpoints are in a bucket, from
which the next try resumes. Results are pushed with DVC's run cache: in any clone at that revision `dvc repro --pull`
restores them without computing anything, and a stage that an earlier try finished is not run again.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from detector.common.errors import TrainingError
from detector.stages import layout

# The time that stages have to end by themselves when the job is stopped; AWS Batch kills 30 seconds after its SIGTERM.
STOP_SECONDS = 10.0


def run_job(repo: str, rev: str, checkpoints: str, folder: Path) -> None:
    """Clone `repo` at `rev` into `folder`, reproduce the results that the remote lacks, and push them.

    checkpoints: a folder or an s3:// prefix for the training's state; all revisions of a project may share it, because
    a training resumes only from a checkpoint of the same settings, data and code. Raises TrainingError if git or DVC
    fails, and SystemExit 143 after SIGTERM.
    """
    if "://" not in checkpoints:
        checkpoints = str(Path(checkpoints).resolve())  # the stages run in the clone
    if not (folder / ".git").is_dir():
        _call("git", "clone", "--quiet", "--", repo, str(folder))
    else:
        _refuse_other(folder, repo)
        _call("git", "fetch", "--quiet", "--tags", "origin", folder=folder)
    _call("git", "checkout", "--quiet", "--detach", _commit(folder, rev), folder=folder)
    _reproduce(folder, checkpoints)
    _call("dvc", "push", "--run-cache", folder=folder)


def _reproduce(folder: Path, checkpoints: str) -> None:
    """Run `dvc repro --pull`; after a stop, stages that do not end in time are killed."""
    environment = _environment(folder) | {layout.CHECKPOINTS_VARIABLE: checkpoints}
    # The process gets its own group, so that a stop reaches the stages too.
    process = subprocess.Popen(["dvc", "repro", "--pull"], cwd=folder, env=environment, start_new_session=True)
    try:
        with _stopped_by_sigterm():
            code = process.wait()
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
    if code:
        raise TrainingError(
            f"{folder}: dvc repro ended with {code}; its messages above say why; run the job again to resume"
        )


@contextlib.contextmanager
def _stopped_by_sigterm() -> Iterator[None]:
    def stop(_number: int, _frame: FrameType | None) -> None:
        raise SystemExit(128 + signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _refuse_other(folder: Path, repo: str) -> None:
    there = _answer(folder, "remote", "get-url", "origin")
    if there != repo:
        raise TrainingError(f"{folder}: holds a clone of {there}, not of {repo}; name another --folder")


def _commit(folder: Path, rev: str) -> str:
    """Return the commit of a branch, a tag or a commit in the cloned repository, not in an older clone of it."""
    for name in (f"origin/{rev}", rev):
        found = _answer(folder, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if found:
            return found
    raise TrainingError(f"{rev}: no branch, tag or commit of the repository; name another revision")


def _answer(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False).stdout.strip()


def _environment(folder: Path) -> dict[str, str]:
    """Return the environment in which stages run the clone's code, not an installed one."""
    return os.environ | {"PYTHONPATH": str(folder.resolve())}


def _call(*command: str, folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, env=None if folder is None else _environment(folder), check=False)
    if done.returncode:
        raise TrainingError(
            f"{' '.join(command[:2])} ended with {done.returncode}; its messages above say why; run the job again"
        )
