"""The number of processor cores that this process may use."""

from __future__ import annotations

import os
from pathlib import Path


def cores(limit: Path = Path("/sys/fs/cgroup/cpu.max")) -> int:
    """The cores of the machine that this process may run on, bounded by its container's quota, which `limit` holds."""
    found = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = limit.read_text().split()
        return min(found, max(1, -(-int(quota) // int(period))))
    except (OSError, ValueError):  # there is no such limit, or it is "max"
        return found
