"""Imports Great Expectations when it is needed, and keeps it quiet.

It then sends nothing, prints nothing, and writes nothing to the home folder.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from typing import Any


def missing_package() -> str | None:
    """Return the name of a needed package that is not installed, or None. Imports nothing."""
    for package in ("great_expectations", "pandas"):
        if importlib.util.find_spec(package) is None:
            return package
    return None


@dataclass(frozen=True)
class Engine:
    """The parts of Great Expectations that are used: its expectations, and a context in memory with one data source."""

    expectations: Any
    context: Any
    source: Any


def start() -> Engine:
    """Import Great Expectations, which takes some seconds, and open a context in memory."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # Great Expectations reads this when it is imported
    os.environ.setdefault("HOME", tempfile.gettempdir())  # it needs a home folder, and some containers have none
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    for name, site in list(context.list_data_docs_sites().items()):  # it creates the folder of a site at once
        context.delete_data_docs_site(name)
        shutil.rmtree(site["store_backend"]["base_directory"], ignore_errors=True)
    return Engine(gx.expectations, context, context.data_sources.add_pandas("tables"))
