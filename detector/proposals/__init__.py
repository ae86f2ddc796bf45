"""Class-less boxes that may hold an object."""

from detector.proposals.selective_search import selective_search

__all__ = ["selective_search"]
