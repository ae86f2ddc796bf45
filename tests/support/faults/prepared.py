"""Start `boxcar` by forking a process that has imported everything, with short time-outs and pauses.

A hundred starts then take seconds, not minutes. Without --quick the benchmark starts the command as people do.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.support.faults.runs import HANGS_SECONDS, ROOT, Ended, NotTried

# great_expectations alone takes three seconds.
_IMPORTED = ["boto3", "botocore.httpsession", "great_expectations", "jobs.cli", "jobs.publish", "jobs.worker"]
TIMEOUT_SECONDS = 1.0
_SLEEP = time.sleep


def _nap(seconds: float) -> None:
    _SLEEP(seconds / 20)


def _boxcar(arguments: Sequence[str], environment: Mapping[str, str], streams: tuple[str, str]) -> None:
    """Run the command in the new process."""
    os.chdir(ROOT)
    os.environ.clear()
    os.environ.update(environment)
    for number, path in zip((1, 2), streams, strict=True):
        os.dup2(os.open(path, os.O_WRONLY), number)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for folder in environment.get("PYTHONPATH", "").split(os.pathsep):
        hook = Path(folder, "sitecustomize.py")
        if folder and hook.is_file():  # see planted.py; a process of its own would have run it at its start
            exec(hook.read_text(), {})

    import jobs.storage.s3 as s3
    from jobs.cli import main

    s3.TIMEOUT_SECONDS = TIMEOUT_SECONDS
    time.sleep = _nap  # type: ignore[assignment]
    main(list(arguments), prog_name="boxcar")


class Prepared:
    """See runs.Running."""

    def __init__(self, arguments: Sequence[str], environment: Mapping[str, str]) -> None:
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(_IMPORTED)
        self._folder = tempfile.TemporaryDirectory()
        self._streams = [Path(self._folder.name, name) for name in ("stdout", "stderr")]
        for stream in self._streams:
            stream.touch()
        names = tuple(map(str, self._streams))
        self._process = context.Process(target=_boxcar, args=(list(arguments), dict(environment), names))
        self._process.start()

    def send(self, number: signal.Signals) -> None:
        """See runs.Running."""
        if self._process.pid is not None and self._process.is_alive():
            os.kill(self._process.pid, number)

    def wait(self, hangs_seconds: float = HANGS_SECONDS) -> Ended:
        """See runs.Running."""
        self._process.join(hangs_seconds)
        code = self._process.exitcode
        if code is None:
            self._process.kill()
            raise NotTried(f"no end after {hangs_seconds:.0f} s")
        stdout, stderr = (stream.read_text() for stream in self._streams)
        self._folder.cleanup()
        return Ended(code, stdout, stderr)
