"""What is known of one network, once it is counted and measured."""

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
    milliseconds: tuple[float, ...]  # of each pass
    memory: int | None  # bytes; None where it cannot be measured
    measured_top1: float | None = None  # per cent
    not_measured: str | None = None  # why top-1 was asked for and is not there

    @property
    def millions(self) -> float:
        """Parameters, without auxiliary classifiers."""
        return self.count.parameters / 1e6

    @property
    def density(self) -> float:
        """Per cent of top-1 accuracy for each million of parameters (Canziani et al. 2016)."""
        return self.published.top1 / self.millions


@dataclass(frozen=True)
class Machine:
    """What times belong to."""

    processor: str
    threads: int
    torch: str
    repeats: int
