"""Great Expectations, imported when it is needed and kept quiet: nothing is sent, nothing is written to the home
folder, nothing is printed."""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import tempfile
from dataclasses import dataclass
from typing import Any


def missing_package() -> str | None:
    """The name of a package that is not installed and would be needed, or None; imports nothing."""
    for package in ("great_expectations", "pandas"):
        if importlib.util.find_spec(package) is None:
            return package
    return None


@dataclass(frozen=True)
class Engine:
    """What is used of Great Expectations: its expectations, and a context in memory with one source of data frames."""

    expectations: Any
    context: Any
    source: Any


def start() -> Engine:
    """Import Great Expectations, which takes some seconds, and open a context in memory."""
    os.environ["GX_ANALYTICS_ENABLED"] = "false"  # read when it is imported
    os.environ.setdefault("HOME", tempfile.gettempdir())  # it asks for the home folder, and some containers have none
    import great_expectations as gx
    from great_expectations.data_context.types.base import ProgressBarsConfig

    logging.getLogger("great_expectations").setLevel(logging.ERROR)
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = ProgressBarsConfig(globally=False)
    for name, site in list(context.list_data_docs_sites().items()):  # it makes a folder for one at once
        context.delete_data_docs_site(name)
        shutil.rmtree(site["store_backend"]["base_directory"], ignore_errors=True)
    return Engine(gx.expectations, context, context.data_sources.add_pandas("tables"))
