"""Faults that are planted by a `sitecustomize` module, which Python imports when a process begins: those of decoders.

The product has no hook for tests. In a child, `PIL.Image.open` reads a mark at the end of the file, and does what it
says before the header or the pixels are read.
"""

from __future__ import annotations

from pathlib import Path

# The limits are smaller than real ones, so that a test does not wait for minutes: 0.3 s of CPU time, and 3 s without.
FAULTS = """
import sys
from jobs.decoding import limits
limits.FIXED_CPU_SECONDS, limits.WALL_SECONDS_A_CPU_SECOND = 0.3, 10.0
"""
_IN_CHILDREN = """
if "jobs.decoding.server" in sys.orig_argv:
    import ctypes, mmap, os, signal, time
    import numpy
    from PIL import Image

    opened, failed = Image.open, mmap.mmap(-1, 1)  # all children share the byte

    def fail(kind):
        if kind.startswith("once-"):
            if failed[0]:
                return
            failed[0] = 1
        kind = kind.removeprefix("once-")
        if kind == "crash":
            ctypes.string_at(0)
        elif kind == "abort":
            os.abort()
        elif kind == "hang":
            time.sleep(1000)
        elif kind == "loop":
            while True:
                pass
        elif kind == "memory":
            held = []
            while True:
                held.append(numpy.empty(2**24))  # takes no CPU time, because nothing is written
        elif kind == "exit":
            os._exit(3)
        elif kind == "kill":
            os.kill(os.getpid(), signal.SIGKILL)

    def planted(file, *rest, **options):
        _, _, mark = file.getvalue().rpartition(b"FAULT ")
        place, _, kind = mark.decode("latin-1").partition(" ")
        if place == "header":
            fail(kind)
        image = opened(file, *rest, **options)
        if place == "pixels":
            load = image.load
            image.load = lambda: (fail(kind), load())[1]
        return image

    Image.open = planted
"""
# The kind of a fault by its place; each of them ends a child.
DEADLY = (
    ("header", "crash"), ("pixels", "crash"), ("pixels", "abort"), ("header", "hang"), ("pixels", "loop"),
    ("pixels", "memory"), ("header", "exit"),
)  # fmt: skip


def plant(folder: Path, code: str = FAULTS + _IN_CHILDREN) -> Path:
    """Return a folder whose modules, when it is in PYTHONPATH or sys.path, run `code` in each process that begins."""
    folder.mkdir()
    (folder / "sitecustomize.py").write_text(code)
    return folder


def marked(data: bytes, place: str, kind: str) -> bytes:
    """Return a JPEG with the mark of a fault after its end, where no decoder looks."""
    return data + f"FAULT {place} {kind}".encode()
