"""Make hostile images in code, each with the status, the size and the colours that it must get."""

from __future__ import annotations

from tests.support.faults.corpus.bombs import bombs
from tests.support.faults.corpus.broken import broken
from tests.support.faults.corpus.formats import formats
from tests.support.faults.corpus.images import Hostile, middles
from tests.support.faults.corpus.names import names
from tests.support.faults.corpus.turned import turned

__all__ = ["Hostile", "bombs", "corpus", "middles"]


def corpus() -> dict[str, Hostile]:
    """Return all of them by key."""
    found: dict[str, Hostile] = {}
    for group in (broken(), bombs(), formats(), turned(), names()):
        assert not found.keys() & group.keys(), found.keys() & group.keys()
        found |= group
    return found
