"""Imports pyarrow, which only Parquet needs, and which an extra installs."""

from __future__ import annotations

from typing import Any

from jobs.errors import UsageError


def import_parquet(option: str) -> tuple[Any, Any]:
    """pyarrow and pyarrow.parquet; raises UsageError that names the option which needs them."""
    try:
        import pyarrow
        import pyarrow.parquet
    except ImportError as error:
        raise UsageError(
            f"{option}: Parquet needs pyarrow; install the extra: pip install '.[parquet]' in the project's folder"
        ) from error
    return pyarrow, pyarrow.parquet
