"""A limit on what all threads hold together."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Budget:
    """A number of units that threads share. A thread that wants more than there are gets all of them, alone."""

    def __init__(self, units: int) -> None:
        self._units = units
        self._free = units
        self._returned = threading.Condition()

    @contextlib.contextmanager
    def hold(self, units: int) -> Iterator[None]:
        """Wait until `units` are free, and hold them within the block. Blocks of one thread must not be nested."""
        wanted = min(units, self._units)
        with self._returned:
            self._returned.wait_for(lambda: self._free >= wanted)
            self._free -= wanted
        try:
            yield
        finally:
            with self._returned:
                self._free += wanted
                self._returned.notify_all()
