"""Counts the processor cores that this process may use."""

from __future__ import annotations

import os
from pathlib import Path


def cores(limit: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """Return the number of cores that this process may use, at most its container's quota, which is in `limit`."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = limit.read_text().split()
        return min(found, max(1, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # there is no quota, or it is "max"
        return found
