"""A training as a job on a machine that may be taken away: the pipeline at a git revision, its data and its results in
the project's DVC remote, its checkpoints in a bucket from which the next try goes on.

Results travel in DVC's run cache: in any clone at that revision `dvc repro --pull` brings them back without computing
anything, and a stage that an earlier try finished is not run again.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

import fsspec
from botocore.exceptions import BotoCoreError
from fsspec.implementations.local import LocalFileSystem

from detector.common.errors import TrainingError
from detector.stages import layout

# A checkpoint is written once an epoch, which takes minutes; what a kill can cost beyond that is this.
SAVE_SECONDS = 20.0
# How long stages have to end by themselves when the job is stopped; AWS Batch kills 30 seconds after its SIGTERM.
STOP_SECONDS = 10.0


class Mirror:
    """The checkpoints in a folder, and their copies at a URI (s3:// or a folder). A copy appears when it is whole."""

    def __init__(self, folder: Path, uri: str) -> None:
        self._folder = folder
        # One of its own: a shared one remembers what it listed, and where it was sent, before.
        try:
            self._files, self._root = fsspec.core.url_to_fs(uri.rstrip("/"), skip_instance_cache=True)
        except ValueError as error:
            raise TrainingError(f"--checkpoints {uri}: {error}; name s3://bucket/prefix or a folder") from error
        self._saved: dict[str, tuple[int, int]] = {}

    def restore(self) -> list[str]:
        """Bring copies back that are not in the folder; their names."""
        self._folder.mkdir(parents=True, exist_ok=True)
        found = [Path(name).name for name in self._files.glob(f"{self._root}/*.pt")]
        restored = [name for name in found if not (self._folder / name).exists()]
        for name in restored:
            self._files.get_file(f"{self._root}/{name}", str(self._folder / name))
            self._saved[name] = _version(self._folder / name)
        return restored

    def save(self) -> None:
        """Copy what is new or has changed since."""
        for path in self._folder.glob("*.pt"):
            with contextlib.suppress(FileNotFoundError):  # a training that ends removes its own
                version = _version(path)
                if self._saved.get(path.name) != version:
                    self._files.makedirs(self._root, exist_ok=True)
                    self._put(path)
                    self._saved[path.name] = version

    def _put(self, path: Path) -> None:
        target = f"{self._root}/{path.name}"
        if not isinstance(self._files, LocalFileSystem):
            self._files.put_file(str(path), target)
            return
        shutil.copyfile(path, f"{target}.part")
        os.replace(f"{target}.part", target)


def _version(path: Path) -> tuple[int, int]:
    stat = path.stat()
    return stat.st_mtime_ns, stat.st_size


def run_job(repo: str, rev: str, checkpoints: str, folder: Path) -> None:
    """Clone `repo` at `rev` into `folder`, reproduce what the remote does not have, and push it.

    checkpoints: URI of the copies; of one project all revisions may share it, because a training resumes only from a
    checkpoint of the same settings, data and code. Raises TrainingError when git or DVC fails, and SystemExit 143 after
    SIGTERM, when the last checkpoint has been saved.
    """
    mirror = Mirror(folder / layout.CHECKPOINTS, checkpoints)
    if not (folder / ".git").is_dir():
        _call("git", "clone", "--quiet", "--", repo, str(folder))
    else:
        _refuse_other(folder, repo)
        _call("git", "fetch", "--quiet", "--tags", "origin", folder=folder)
    _call("git", "checkout", "--quiet", "--detach", _commit(folder, rev), folder=folder)
    try:
        restored = mirror.restore()
    except (OSError, BotoCoreError) as error:
        raise TrainingError(f"--checkpoints {checkpoints}: {error}; check the URI and the credentials") from error
    for name in restored:
        print(f"checkpoint {name} restored from {checkpoints}", flush=True)
    _reproduce(folder, mirror)
    _call("dvc", "push", "--run-cache", folder=folder)


def _reproduce(folder: Path, mirror: Mirror) -> None:
    """`dvc repro --pull`, with checkpoints saved beside it."""
    # A group of its own, so that a stop reaches the stages too.
    process = subprocess.Popen(["dvc", "repro", "--pull"], cwd=folder, env=_environment(folder), start_new_session=True)
    try:
        with _stopped_by_sigterm():
            while True:
                try:
                    code = process.wait(SAVE_SECONDS)
                    break
                except subprocess.TimeoutExpired:
                    _save(mirror)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(STOP_SECONDS)
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        _save(mirror)
    if code:
        raise TrainingError(
            f"{folder}: dvc repro ended with {code}; its messages above say why; run the job again to resume"
        )


def _save(mirror: Mirror) -> None:
    """A copy that fails costs no training: the next one is tried in a moment, and nothing needs the last."""
    try:
        mirror.save()
    except (OSError, BotoCoreError) as error:
        print(f"warning: a checkpoint could not be copied: {error}", file=sys.stderr, flush=True)


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
    """What a branch, a tag or a commit means in the repository that was cloned, not in an older clone of it."""
    for name in (f"origin/{rev}", rev):
        found = _answer(folder, "rev-parse", "--verify", "--quiet", f"{name}^{{commit}}")
        if found:
            return found
    raise TrainingError(f"{rev}: no branch, tag or commit of the repository; name another revision")


def _answer(folder: Path, *words: str) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=False).stdout.strip()


def _environment(folder: Path) -> dict[str, str]:
    """The stages run the clone's code, whatever is installed."""
    return os.environ | {"PYTHONPATH": str(folder.resolve())}


def _call(*command: str, folder: Path | None = None) -> None:
    done = subprocess.run(command, cwd=folder, env=None if folder is None else _environment(folder), check=False)
    if done.returncode:
        raise TrainingError(
            f"{' '.join(command[:2])} ended with {done.returncode}; its messages above say why; run the job again"
        )
