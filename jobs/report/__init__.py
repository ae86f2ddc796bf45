"""report.html: what a run found, on one page for people. Feed a `Collector` in the plan's order, then `render`."""

from jobs.report.collect import Collector
from jobs.report.page import REPORT, render

__all__ = ["REPORT", "Collector", "render"]
