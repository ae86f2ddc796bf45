"""What a person or a log sees while parts are made: a bar on a terminal, one JSON line a part elsewhere."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING, Protocol

from jobs.formats import PartStats, canonical_json

if TYPE_CHECKING:
    from tqdm import tqdm


class Progress(Protocol):
    """Who watches parts being made."""

    def images(self, status: str, count: int) -> None:
        """So many records with one status were made."""

    def part(self, stats: PartStats, *, skipped: bool) -> None:
        """A part is in place; `skipped` when it was there before."""


def report(stats: PartStats, progress: Progress) -> None:
    """Tell of a part that was made elsewhere, with its images."""
    for status, count in stats.statuses.items():
        progress.images(status, count)
    progress.part(stats, skipped=False)


class Shown:
    """Progress on stderr, and the counts that the summary needs."""

    def __init__(self, images: int) -> None:
        self.made = 0
        self._failed = 0
        self._started = time.perf_counter()
        self._bar: tqdm | None = None
        if sys.stderr.isatty():
            from tqdm import tqdm

            self._bar = tqdm(total=images, unit="img", smoothing=0.05, dynamic_ncols=True)

    def __enter__(self) -> Shown:
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

    def images(self, status: str, count: int) -> None:
        """See Progress."""
        self.made += count
        self._failed += count if status != "ok" else 0
        if self._bar is not None:
            self._bar.set_postfix(failed=self._failed, refresh=False)
            self._bar.update(count)

    def part(self, stats: PartStats, *, skipped: bool) -> None:
        """See Progress."""
        if self._bar is None:
            print(canonical_json({**stats.model_dump(), "skipped": skipped}).decode(), file=sys.stderr, flush=True)
        elif skipped:
            self._bar.update(stats.images)
