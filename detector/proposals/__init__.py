"""Class-less boxes that may hold an object."""

from detector.proposals.selective_search import Mode, selective_search
from detector.proposals.sliding_window import count_windows, sliding_window

__all__ = ["Mode", "count_windows", "selective_search", "sliding_window"]
