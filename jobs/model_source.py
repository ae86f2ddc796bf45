"""Finds the artifact that `--model` names: in a folder, in a bucket, or in a DVC project at some revision."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from detector.runtime.artifact import SHIPPED
from jobs.errors import ModelError, UsageError
from jobs.model import FILES, Model, download_model, open_model
from jobs.storage import open_store
from jobs.temporary import temporary_folder

# The name under `artifacts:` in the project's dvc.yaml.
DECLARED = "detector"


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
    """Copy the artifact that the DVC project REPO (a path or a git URL) declares at REV (a tag, branch or commit)."""
    repo, _, rev = name.rpartition(":")
    if not repo or not rev or rev.startswith("//"):
        raise UsageError(f"--model {name}: a DVC project's artifact is named REPO:REV, as in .:main")
    try:
        import yaml
        from dvc.api import DVCFileSystem
        from dvc.exceptions import DvcException
        from scmrepo.exceptions import SCMError
    except ModuleNotFoundError as error:
        raise UsageError(
            f"--model {name}: DVC is not installed; install the extra: pip install '.[pipeline]' in the project's "
            "folder, or name a folder or s3://"
        ) from error
    try:
        files: Any = DVCFileSystem(repo, rev=rev)
        place: Any = yaml.safe_load(files.read_text("dvc.yaml"))
        for step in ("artifacts", DECLARED, "path"):
            place = place.get(step) if isinstance(place, dict) else None
        if not isinstance(place, str):
            raise ModelError(f"--model {name}: its dvc.yaml declares no artifact `{DECLARED}`; name another revision")
        for file in FILES:
            files.get_file(f"{place}/{file}", str(folder / file))
    except (DvcException, SCMError, OSError, yaml.YAMLError) as error:
        raise ModelError(
            f"--model {name}: cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}; "
            "check the repository, the revision, and that `dvc push` was run for it"
        ) from error
