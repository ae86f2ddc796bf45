"""The style that all of the detector's matplotlib figures share."""

from __future__ import annotations

from typing import Any

STYLE: dict[Any, Any] = {"axes.spines.top": False, "axes.spines.right": False, "axes.axisbelow": True}
