"""Messages between the job and a child: JSON, and the bytes of an image after it.

They are not pickled: a decoder that an image has taken over must not be able to run code in the job.
"""

from __future__ import annotations

import json
import socket
import struct
from typing import Any

import numpy as np

from detector.runtime.images import Pixels

# The lengths of the JSON text and of the bytes after it.
_LENGTHS = struct.Struct(">II")
_MOST_TEXT = 4096


class Channel:
    """One end of a socket. Its methods raise EOFError or OSError when the other end is gone, TimeoutError when a
    timeout is set and passes, and ValueError when what comes is no message."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._stream = end.makefile("rb")

    def close(self) -> None:
        self._stream.close()
        self._end.close()

    def set_timeout(self, seconds: float) -> None:
        """Let each wait for the other end last at most this long."""
        self._end.settimeout(seconds)

    def send(self, message: dict[str, Any], data: bytes | memoryview = b"") -> None:
        """Send a message, and bytes that belong to it."""
        text = json.dumps(message).encode()
        head = _LENGTHS.pack(len(text), len(data)) + text
        # In one call, so that the other end wakes up once.
        sent = self._end.sendmsg([head, data])
        if sent < len(head):
            self._end.sendall(head[sent:])
        if sent < len(head) + len(data):
            self._end.sendall(memoryview(data)[max(0, sent - len(head)) :])

    def receive(self) -> tuple[dict[str, Any], int]:
        """Return the next message, and how many bytes belong to it; they are read next."""
        text, data = _LENGTHS.unpack(self.read(_LENGTHS.size))
        message = json.loads(self.read(text)) if text <= _MOST_TEXT else None
        if not isinstance(message, dict):
            raise ValueError("not a message")
        return message, data

    def read(self, size: int) -> bytes:
        """Return the next `size` bytes."""
        data = self._stream.read(size)
        if len(data) < size:
            raise EOFError
        return data

    def read_pixels(self, height: int, width: int) -> Pixels:
        """Return the next bytes as pixels, uint8 RGB (height, width, 3)."""
        pixels = np.empty((height, width, 3), np.uint8)
        if self._stream.readinto(pixels.data.cast("B")) < pixels.nbytes:
            raise EOFError
        return pixels
