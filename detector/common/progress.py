"""Shows progress bars: live on a terminal, and as a line every half minute in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TypeVar

from tqdm import tqdm

Item = TypeVar("Item")

_TERMINAL_SECONDS, _LOG_SECONDS = 0.5, 30.0


def progress(
    items: Iterable[Item] | None,
    total: int | None,
    title: str,
    unit: str = "image",
    *,
    done: int = 0,
    shown: bool = True,
) -> tqdm[Item]:
    """Return `items`, counted out of `total` while they pass; without items, call `update` of the result.

    unit: "B" gives bytes as kB and MB. done: the number that an earlier run had done. shown: False counts in silence.
    """
    interval = _TERMINAL_SECONDS if sys.stderr.isatty() else _LOG_SECONDS
    return tqdm(
        items,
        total=total,
        initial=done,
        desc=title,
        unit=unit,
        unit_scale=unit == "B",
        mininterval=interval,
        maxinterval=interval,
        disable=not shown,
    )
