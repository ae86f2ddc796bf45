"""Progress while parts are made: a bar on a terminal, and one JSON line for each part in a log."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

from jobs.formats import PartStats, canonical_json

if TYPE_CHECKING:
    from tqdm import tqdm


class TerminalProgress:
    """Shows progress on stderr, and counts the images made for the summary."""

    def __init__(self, images: int) -> None:
        self.made = 0
        self._failed = 0
        self._started = time.perf_counter()
        self._bar: tqdm | None = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=images, unit="img", smoothing=0.05, dynamic_ncols=True)

    def __enter__(self) -> TerminalProgress:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.close()

    @property
    def rate(self) -> float | None:
        """Images made a second since the start, loading the network included; None when none was made."""
        return self.made / (time.perf_counter() - self._started) if self.made else None

    def images(self, status: str, count: int = 1) -> None:
        """Note that `count` records with this status were made."""
        self.made += count
        self._failed += count if status != "ok" else 0
        if self._bar is not None:
            self._bar.set_postfix(failed=self._failed, refresh=False)
            self._bar.update(count)

    def part(self, stats: PartStats, *, skipped: bool = False) -> None:
        """Note that a part is in place; `skipped` when it was there before."""
        if self._bar is None:
            print(canonical_json({**stats.model_dump(), "skipped": skipped}).decode(), file=sys.stderr, flush=True)
        elif skipped:
            self._bar.update(stats.images)

    def part_elsewhere(self, stats: PartStats) -> None:
        """Note that another process has made a part, with its images."""
        for status, count in stats.statuses.items():
            self.images(status, count)
        self.part(stats)
