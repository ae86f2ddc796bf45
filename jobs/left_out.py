"""Says how many listed objects were not planned, and why."""

from __future__ import annotations

from typing import Protocol


class LeftOut(Protocol):
    """What counts the listed objects that were not planned: a listing, a plan or a manifest."""

    @property
    def other_files(self) -> int: ...
    @property
    def filtered(self) -> int: ...
    @property
    def hidden(self) -> int: ...


def left_out(counts: LeftOut) -> str:
    """The number of listed objects that were not planned, with the reasons; empty when there are none."""
    reasons = {
        "by their extension": counts.other_files,
        "by --include, --exclude or --limit": counts.filtered,
        "hidden": counts.hidden,
    }
    found = [f"{count:,} {reason}" for reason, count in reasons.items() if count]
    return f"{sum(reasons.values()):,} ({', '.join(found)})" if found else ""
