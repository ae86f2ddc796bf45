"""Reads images in children: the only place where the job has the bytes of an image decoded."""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any

from detector.common.errors import FormatError, ImageError
from detector.runtime.detector import Image
from detector.runtime.image_quality import ImageQuality
from detector.runtime.images import MAX_PIXELS
from detector.runtime.reading import Reading, decoded_pixels
from jobs.budget import Budget
from jobs.decoding.children import Child, Server
from jobs.decoding.limits import wall_seconds
from jobs.decoding.protocol import OUT_OF_MEMORY
from jobs.errors import StorageError
from jobs.formats import QualityRecord

# Signals by which an image ends its decoder. Others, above all SIGKILL from a system without memory, come from outside.
_FAULTS = {
    signal.SIGSEGV, signal.SIGABRT, signal.SIGBUS, signal.SIGILL, signal.SIGFPE, signal.SIGTRAP, signal.SIGSYS,
}  # fmt: skip
# A child whose socket is closed is about to end; the system may need a moment for its memory.
_END_SECONDS = 10.0


class DecoderEnded(ImageError):
    """An image ended the process that decoded it; `kind` says how."""

    def __init__(self, kind: str) -> None:
        super().__init__("unreadable", f"{kind}, also in a second try; its record says unreadable")
        self.kind = kind


class Decoders:
    """Decodes images in children; several threads may read at once.

    What a child answers is checked, because an image may have taken it over.
    """

    def __init__(self, pixels: Budget, children: int) -> None:
        """pixels: limit on the pixels that are decoded at the same time; children: most images that are. Raises
        StorageError when no process can be started."""
        self._pixels = pixels
        self._free = threading.Semaphore(children)
        self._server = Server()
        self._idle: deque[Child] = deque()

    def close(self) -> None:
        """End all children, also those that decode."""
        self._server.close()

    def cpu_seconds(self) -> float:
        """Return the CPU time of all children up to now."""
        return self._server.cpu_seconds

    @contextlib.contextmanager
    def read(self, name: str, data: bytes, reading: Callable[[int, int], Reading]) -> Iterator[tuple[Image, float]]:
        """Decode an image, and hold its share of the pixels within the block. Gives the image, and the wall time in
        seconds that it took.

        name: the image, for messages; reading: how it is best read, by the height and width of its frame.
        Raises ImageError, and StorageError when something else than the image ends a child.
        """
        with contextlib.ExitStack() as held:
            with self._free:
                try:
                    read = self._try(name, data, reading, held, alone=False)
                except DecoderEnded:
                    # An image before this one may have damaged the child, or others may have taken the memory.
                    held.close()
                    read = self._try(name, data, reading, held, alone=True)
            yield read

    def _try(
        self, name: str, data: bytes, reading: Callable[[int, int], Reading], held: contextlib.ExitStack, *, alone: bool
    ) -> tuple[Image, float]:
        """Read an image in one child. alone: in a new one, while no other image holds pixels."""
        if alone:
            held.enter_context(self._pixels.hold(MAX_PIXELS))
        child = self._borrow(new=alone)
        start, waited = time.perf_counter(), 0.0
        try:
            child.channel.set_timeout(wall_seconds())
            child.channel.send({}, data)
            height, width = _size(self._answer(child)["frame"])
            wanted = reading(height, width)
            if not alone:
                asked = time.perf_counter()
                held.enter_context(self._pixels.hold(decoded_pixels(data, height, width, wanted)))
                waited = time.perf_counter() - asked
            child.channel.set_timeout(wall_seconds(height * width))
            child.channel.send({"reading": (wanted.height, wanted.width, wanted.method)})
            answer = self._answer(child)
            shape, quality = _size(answer["shape"]), QualityRecord.model_validate(answer["quality"])
            if wanted.method is not None and shape != (wanted.height, wanted.width):
                raise ValueError(shape)
            pixels = child.channel.read_pixels(*shape)
        except ImageError:
            self._idle.append(child)
            raise
        except (OSError, EOFError, ValueError, ArithmeticError, LookupError, TypeError, RecursionError) as error:
            raise self._ended(name, child, error) from error
        self._idle.append(child)
        return Image(pixels, height, width, ImageQuality(**dict(quality))), time.perf_counter() - start - waited

    def _borrow(self, *, new: bool) -> Child:
        if not new:
            with contextlib.suppress(IndexError):
                return self._idle.pop()
        return self._server.start()

    def _answer(self, child: Child) -> dict[str, Any]:
        """Return the answer of a child; raises the ImageError that it holds."""
        answer, _ = child.channel.receive()
        self._server.count(child, float(answer["cpu"]))
        if "error" not in answer:
            return answer
        status, text, kind = (answer["error"][name] for name in ("status", "text", "kind"))
        if kind is not None:
            raise FormatError(str(kind), str(text).removeprefix(f"{kind}: "))
        if status not in ("empty", "unreadable", "too_large"):
            raise ValueError(status)
        raise ImageError(status, str(text))

    def _ended(self, name: str, child: Child, error: Exception) -> DecoderEnded | StorageError:
        """End a child that does not answer as it should; returns the error to raise: whose fault it is."""
        if isinstance(error, TimeoutError):
            self._server.end(child, 0)
            return DecoderEnded("its decoder hangs")
        code = self._server.end(child, _END_SECONDS)
        if code == OUT_OF_MEMORY:
            return DecoderEnded("its decoder needs more memory than an image of this size may take")
        if code == -signal.SIGPROF:
            return DecoderEnded("its decoder needs more CPU time than an image of this size may take")
        if code >= 0:
            return DecoderEnded("its decoder gives no sensible answer")
        how = signal.strsignal(-code)
        if -code in _FAULTS:
            return DecoderEnded(f"its decoder crashes ({how})")
        return StorageError(
            f"{name}: the process that decoded it was ended from outside: {how}; where memory is short, use fewer "
            "--threads; run the same command again to resume"
        )


def _size(answer: Any) -> tuple[int, int]:
    """Return a (height, width) that a child has sent; raises ValueError or TypeError if no image has it."""
    height, width = map(int, answer)
    if min(height, width) < 1 or height * width > MAX_PIXELS:
        raise ValueError(f"{height} x {width}")
    return height, width
