"""One network's row of the table: what was counted and measured."""

from __future__ import annotations

from dataclasses import dataclass

from detector.compare.backbones.classifiers import Published
from detector.compare.backbones.count import Count


@dataclass(frozen=True)
class Row:
    """One network."""

    name: str
    title: str
    family: str
    year: int
    size: int
    count: Count
    published: Published
    milliseconds: tuple[float, ...]  # one for each pass
    memory: int | None  # bytes; None if it cannot be measured
    measured_top1: float | None = None  # per cent
    not_measured: str | None = None  # the reason, if top-1 should have been measured and was not

    @property
    def millions(self) -> float:
        """Return the parameters in millions, without auxiliary classifiers."""
        return self.count.parameters / 1e6

    @property
    def density(self) -> float:
        """Return the top-1 accuracy in per cent for each million of parameters (Canziani et al. 2016)."""
        return self.published.top1 / self.millions


@dataclass(frozen=True)
class Machine:
    """The machine on which times were measured, and their number of repeats."""

    processor: str
    threads: int
    torch: str
    repeats: int
