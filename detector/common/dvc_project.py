"""Reads the artifact that a DVC project declares at some revision, for both programs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from detector.common.errors import ProjectError

# The name under `artifacts:` in the project's dvc.yaml.
DECLARED = "detector"


def get_declared(name: str, files: Sequence[str], folder: Path) -> None:
    """Copy files of the artifact that the DVC project REPO (a path or a git URL) declares at REV into `folder`.

    name: REPO:REV, where REV is a tag, a branch or a commit. Raises ProjectError, whose message does not repeat `name`.
    """
    repo, _, rev = name.rpartition(":")
    if not repo or not rev or rev.startswith("//"):
        raise ProjectError("a DVC project's artifact is named REPO:REV, as in .:main", wrong_usage=True)
    try:
        import yaml
        from dvc.api import DVCFileSystem
        from dvc.exceptions import DvcException
        from scmrepo.exceptions import SCMError
    except ModuleNotFoundError as error:
        raise ProjectError(
            "DVC is not installed; install the extra: pip install '.[pipeline]' in the project's folder, or name a "
            "folder or s3://",
            wrong_usage=True,
        ) from error
    try:
        project: Any = DVCFileSystem(repo, rev=rev)
        place: Any = yaml.safe_load(project.read_text("dvc.yaml"))
        for step in ("artifacts", DECLARED, "path"):
            place = place.get(step) if isinstance(place, dict) else None
        if not isinstance(place, str):
            raise ProjectError(f"its dvc.yaml declares no artifact `{DECLARED}`; name another revision")
        for file in files:
            project.get_file(f"{place}/{file}", str(folder / file))
    except (DvcException, SCMError, OSError, yaml.YAMLError) as error:
        raise ProjectError(
            f"cannot be read: {str(error).splitlines()[0] if str(error) else type(error).__name__}; check the "
            "repository, the revision, and that `dvc push` was run for it"
        ) from error
