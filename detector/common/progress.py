"""Progress bars: live on a terminal, a line every half minute in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

_TERMINAL_SECONDS, _LOG_SECONDS = 0.5, 30.0


def progress(items: Iterable[Item], total: int, title: str, unit: str = "image", *, shown: bool = True) -> tqdm[Item]:
    """`items`, counted out of `total` while they pass; shown: False counts in silence."""
    interval = _TERMINAL_SECONDS if sys.stderr.isatty() else _LOG_SECONDS
    return tqdm(
        items, total=total, desc=title, unit=unit, mininterval=interval, maxinterval=interval, disable=not shown
    )
