"""Hostile pictures, made in code: each with the status, the size and the colours that it must get."""

from __future__ import annotations

from benchmarks.fault_tools.corpus.bombs import bombs
from benchmarks.fault_tools.corpus.broken import broken
from benchmarks.fault_tools.corpus.formats import formats
from benchmarks.fault_tools.corpus.names import names
from benchmarks.fault_tools.corpus.picture import Hostile, middles
from benchmarks.fault_tools.corpus.turned import turned

__all__ = ["Hostile", "bombs", "corpus", "middles"]


def corpus() -> dict[str, Hostile]:
    """All of it, by key."""
    found: dict[str, Hostile] = {}
    for group in (broken(), bombs(), formats(), turned(), names()):
        assert not found.keys() & group.keys(), found.keys() & group.keys()
        found |= group
    return found
