"""Writes long lists in JSON."""

from __future__ import annotations

import json
from typing import IO, Any


class Items:
    """Writes the items of a JSON list one by one; the caller writes the brackets."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._before = b"\n"
        self.count = 0

    def add(self, *items: dict[str, Any]) -> None:
        """Write these items."""
        for item in items:
            self._file.write(self._before + as_json(item))
            self._before = b",\n"
            self.count += 1


def as_json(value: dict[str, Any]) -> bytes:
    """The value on one line, in UTF-8."""
    return json.dumps(value, ensure_ascii=False).encode()
