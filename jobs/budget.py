"""A bound on what threads hold together."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator


class Budget:
    """So many units for all threads; one that wants more than there are gets them all, alone."""

    def __init__(self, units: int) -> None:
        self._units = units
        self._free = units
        self._returned = threading.Condition()

    @contextlib.contextmanager
    def hold(self, units: int) -> Iterator[None]:
        """Wait until `units` are free, and keep them for the length of the block; no block within a block."""
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
