"""The server of children: a process without threads, which loads the decoders once and forks a child when the job asks.

    python -m jobs.decoding.server  # the job starts it, with a socket as its standard input

A program of its own for each child would take .14 seconds of a core to start and 38 MB; a fork takes .002 seconds and
3 MB, and 8 MB after some photographs. The job cannot be forked itself, because threads of ONNX Runtime may hold locks
at that moment.
"""

from __future__ import annotations

import os
import signal
import socket
import time

from jobs.decoding.child import preload, serve
from jobs.decoding.protocol import ANSWER, REQUEST, STOPPED


def main() -> None:
    """Serve until the job closes the socket, however it ends; children end as well."""
    # Ctrl-C and service managers reach every process of a job; the job alone decides what follows.
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    control = socket.socket(fileno=0)
    children: set[int] = set()
    try:
        preload()
        control.sendall(ANSWER.pack(0, time.process_time()))
        while request := _request(control):
            child, seconds, ends = request
            control.sendall(ANSWER.pack(*(_end(children, child, seconds) if child else _start(children, ends[0]))))
    except (BrokenPipeError, ConnectionResetError):
        pass  # the job has ended, perhaps before it could begin
    finally:
        for child in children:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)


def _request(control: socket.socket) -> tuple[int, float, list[int]] | None:
    data, ends, _, _ = socket.recv_fds(control, REQUEST.size, 1)
    return (*REQUEST.unpack(data), ends) if data else None


def _start(children: set[int], end: int) -> tuple[int, float]:
    try:
        child = os.fork()
    except OSError as error:
        return -(error.errno or 1), 0.0
    else:
        if child == 0:
            try:
                serve(socket.socket(fileno=end))
            finally:
                os._exit(1)
        children.add(child)
        return child, 0.0
    finally:
        os.close(end)


def _end(children: set[int], child: int, seconds: float) -> tuple[int, float]:
    deadline = time.monotonic() + seconds
    children.discard(child)
    while True:
        found, status, used = os.wait4(child, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime
        if time.monotonic() >= deadline:
            os.kill(child, signal.SIGKILL)
            _, _, used = os.wait4(child, 0)
            return STOPPED, used.ru_utime + used.ru_stime
        time.sleep(0.001)


if __name__ == "__main__":
    main()
