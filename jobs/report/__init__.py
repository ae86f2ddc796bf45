"""report.html: a run on one page for people."""

from jobs.report.page import REPORT, render
from jobs.report.samples import Samples

__all__ = ["REPORT", "Samples", "render"]
