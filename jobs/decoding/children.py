"""Starts and ends the children, and counts their CPU time."""

from __future__ import annotations

import contextlib
import math
import os
import socket
import subprocess
import sys
import threading
from dataclasses import dataclass

from jobs.decoding.channel import Channel
from jobs.decoding.protocol import ANSWER, REQUEST
from jobs.errors import StorageError

_ENVIRONMENT = {
    "OPENBLAS_NUM_THREADS": "1",  # NumPy would start threads, which a process that forks must not have
    # GNU's allocator gives blocks above 128 kB back to the system when they are freed. A photograph of 400 pixels needs
    # 300 new pages then, which takes a third of the time that it takes to decode.
    "MALLOC_MMAP_THRESHOLD_": str(8 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(32 * 2**20),
}
# A child hands over the pixels of most detectors without waiting for the job to fetch them, where the system allows it.
_BUFFER = 2**20


@dataclass
class Child:
    """One process that decodes."""

    number: int
    channel: Channel
    cpu_seconds: float = 0.0  # of its whole life, as it has reported


class Server:
    """The process that forks children. Several threads may use it."""

    def __init__(self) -> None:
        """Start it, without waiting for it; raises StorageError when it cannot be started."""
        self._control, theirs = socket.socketpair()
        # The modules of this process, wherever they come from, and no others.
        path = os.pathsep.join(folder or os.curdir for folder in sys.path)
        environment = os.environ | _ENVIRONMENT | {"PYTHONPATH": path}
        command = [sys.executable, "-P", "-m", "jobs.decoding.server"]
        try:
            self._process = subprocess.Popen(command, stdin=theirs.fileno(), stdout=subprocess.DEVNULL, env=environment)
        except OSError as error:
            raise _cannot_start(str(error)) from error
        finally:
            theirs.close()
        self._lock = threading.Lock()
        self._is_ready = False
        self.cpu_seconds = 0.0  # of all processes, as far as they have been reported

    def close(self) -> None:
        """End the server and all children. A thread that waits for one of them gets StorageError."""
        with contextlib.suppress(OSError):
            self._control.shutdown(socket.SHUT_RDWR)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        self._control.close()

    def start(self) -> Child:
        """Start a child; raises StorageError when that is not possible."""
        ours, theirs = socket.socketpair()
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER)
        with theirs:
            number, _ = self._ask(0, 0, theirs)
        if number < 0:
            ours.close()
            raise _cannot_start(os.strerror(-number))
        return Child(number, Channel(ours))

    def end(self, child: Child, seconds: float) -> int:
        """End a child that may take some seconds to end by itself; returns how it ended, as Popen.returncode has it,
        and 0 if it did not end."""
        child.channel.close()
        code, used = self._ask(child.number, seconds)
        self.count(child, max(used, child.cpu_seconds))  # the system's clocks differ by some microseconds
        return code

    def count(self, child: Child, cpu_seconds: float) -> None:
        """Note the CPU time of a child's whole life up to now; raises ValueError if it cannot be one."""
        if not child.cpu_seconds <= cpu_seconds < math.inf:
            raise ValueError(cpu_seconds)
        with self._lock:
            self.cpu_seconds += cpu_seconds - child.cpu_seconds
        child.cpu_seconds = cpu_seconds

    def _ask(self, number: int, seconds: float, *ends: socket.socket) -> tuple[int, float]:
        with self._lock:
            try:
                if not self._is_ready:
                    _, self.cpu_seconds = self._answer()
                    self._is_ready = True
                socket.send_fds(self._control, [REQUEST.pack(number, seconds)], [end.fileno() for end in ends])
                return self._answer()
            except (OSError, EOFError) as error:
                code = self._process.poll()
                raise _cannot_start("it has ended" if code is None else f"it ended with status {code}") from error

    def _answer(self) -> tuple[int, float]:
        data = self._control.recv(ANSWER.size, socket.MSG_WAITALL)
        if len(data) < ANSWER.size:
            raise EOFError
        number, seconds = ANSWER.unpack(data)
        return number, seconds


def _cannot_start(reason: str) -> StorageError:
    return StorageError(
        f"no process can be started that decodes images: {reason}; give the job more processes and memory, or fewer "
        "--threads, and run the same command again to resume"
    )
