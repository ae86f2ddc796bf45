"""Finds proposals: boxes without a class that may contain an object."""

from detector.proposals.methods import METHODS, Method, find_proposals
from detector.proposals.selective_search import Mode, selective_search
from detector.proposals.sliding_window import count_windows, sliding_window

__all__ = ["METHODS", "Method", "Mode", "count_windows", "find_proposals", "selective_search", "sliding_window"]
