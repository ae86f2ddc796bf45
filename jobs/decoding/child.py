"""A child: it decodes one image after another within limits, and can open no file and no connection.

It imports Pillow, NumPy and the reader of images, and nothing of the network, the storage or the records.
"""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import sys
import time
from collections.abc import Iterator
from importlib.util import find_spec
from typing import NoReturn

from PIL import AvifImagePlugin, Image, ImageCms, ImageColor

from detector.common.errors import FormatError, ImageError
from detector.runtime.decoding.readers import register_heif
from detector.runtime.image_quality import read_and_measure
from detector.runtime.images import frame_size
from detector.runtime.reading import Reading
from jobs.decoding.channel import Channel
from jobs.decoding.limits import cpu_seconds, memory_bytes
from jobs.decoding.protocol import OUT_OF_MEMORY

_PAGE = resource.getpagesize()


def preload() -> None:
    """Import what decoders would import when they need it first: a child cannot open files."""
    Image.init()
    assert ImageCms and ImageColor
    # There is a child for each compute thread. Threads of a decoder's own would only take memory for their stacks.
    AvifImagePlugin.DEFAULT_MAX_THREADS = 1
    if find_spec("pillow_heif") is None:
        sys.modules["pillow_heif"] = None  # type: ignore[assignment]  # so that nobody looks for it on the disk
    else:
        import pillow_heif

        pillow_heif.options.DECODE_THREADS = 1
        register_heif()


def serve(end: socket.socket) -> NoReturn:
    """Decode the images that come through `end`, in a process that has just been forked, until the job closes it."""
    null = os.open(os.devnull, os.O_RDWR)
    for number, file in enumerate((end.fileno(), null, null)):
        os.dup2(file, number)
    os.close(null)
    end.close()
    limits = _Limits()
    channel = Channel(socket.socket(fileno=0))
    try:
        while True:
            _decode_one(channel, limits)
    except MemoryError:
        os._exit(OUT_OF_MEMORY)
    except (EOFError, OSError):
        os._exit(0)  # the job has ended, or needs no children any more


def _decode_one(channel: Channel, limits: _Limits) -> None:
    """Decode one image as the job asks: it sends the image, gets the size of its frame, says how it wants the image
    read, and gets the pixels, or gets the reason why there are none."""
    _, size = channel.receive()
    try:
        with limits.set(memory_bytes(size), cpu_seconds()):
            data = channel.read(size)
            height, width = frame_size(data)
        channel.send({"cpu": time.process_time(), "frame": (height, width)})
        message, _ = channel.receive()
        with limits.set(memory_bytes(size, height * width), cpu_seconds(height * width)):
            read = read_and_measure(data, Reading(*message["reading"]))
        answer = {"cpu": time.process_time(), "shape": read.pixels.shape[:2], "quality": vars(read.quality)}
        channel.send(answer, read.pixels.data.cast("B"))
    except ImageError as error:
        kind = error.kind if isinstance(error, FormatError) else None
        said = {"status": error.status, "text": str(error), "kind": kind}
        channel.send({"cpu": time.process_time(), "error": said})


class _Limits:
    """The limits of this process. What does not depend on the image is set once: no file, no connection, no core."""

    def __init__(self) -> None:
        try:
            # It stays open to tell how much memory the process has, for which there is no system call.
            self._statm: int | None = os.open("/proc/self/statm", os.O_RDONLY)
        except OSError:
            self._statm = None  # macOS, whose kernel does not hold RLIMIT_DATA anyway
        most_files = 3 if self._statm is None else self._statm + 1
        for kind, limit in (
            (resource.RLIMIT_NOFILE, most_files),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
        ):
            resource.setrlimit(kind, (limit, limit))

    @contextlib.contextmanager
    def set(self, memory: int, seconds: float) -> Iterator[None]:
        """Within the block, allow `memory` bytes more than now, and `seconds` of CPU time; beyond them, an allocation
        fails, and SIGPROF ends the process."""
        if self._statm is not None:
            has = int(os.pread(self._statm, 128, 0).split()[5]) * _PAGE  # data and stack, proc(5)
            most = resource.getrlimit(resource.RLIMIT_DATA)[1]
            limit = has + memory if most == resource.RLIM_INFINITY else min(has + memory, most)
            # RLIMIT_AS would also count what NumPy reserves and never uses.
            resource.setrlimit(resource.RLIMIT_DATA, (limit, most))
        signal.setitimer(signal.ITIMER_PROF, seconds)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_PROF, 0)
