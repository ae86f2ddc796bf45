"""Finds the artifact that `--model` names: in a folder, in a bucket, or in a DVC project at some revision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

from detector.common.dvc_project import get_declared
from detector.common.errors import ProjectError
from detector.runtime.shipped import SHIPPED
from jobs.errors import ModelError, UsageError
from jobs.model import FILES, Model, download_model, open_model
from jobs.storage import open_store
from jobs.temporary import temporary_folder


@contextlib.contextmanager
def named_model(name: str | None) -> Iterator[Model]:
    """The verified artifact that `--model` names, within the block; None names the shipped one.

    A folder is used where it lies. `s3://bucket/prefix/` and `REPO:REV` are copied to a temporary folder. The network
    must have the SHA-256 that the description states. Raises ModelError, UsageError and StorageError.
    """
    if name is None:
        yield open_model(SHIPPED)
    elif name.startswith("s3://"):
        with temporary_folder() as folder:
            download_model(open_store(name), "", folder, f"name the prefix below which {' and '.join(FILES)} lie")
            yield open_model(folder, name)
    elif Path(name).is_dir():
        yield open_model(Path(name), name)
    elif ":" in name:
        with temporary_folder() as folder:
            _check_out(name, folder)
            yield open_model(folder, name)
    else:
        raise ModelError(
            f"{name}: no artifact here; build one with `dvc repro`, or leave --model out for the shipped one"
        )


def _check_out(name: str, folder: Path) -> None:
    """Copy the artifact that a DVC project declares, REPO:REV. Raises UsageError or ModelError."""
    try:
        get_declared(name, FILES, folder)
    except ProjectError as error:
        raise (UsageError if error.wrong_usage else ModelError)(f"--model {name}: {error}") from error
