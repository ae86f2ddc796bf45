"""Says which sources DVC does not watch, so that their change would not run `fetch` again."""

from __future__ import annotations

from pathlib import Path

import yaml

from detector.data.settings import FetchSettings


def unwatched(settings: FetchSettings, pipeline: Path) -> list[str]:
    """Return the files and folders of the sources that are no dependency of `fetch`, in a project of `detector init`.

    pipeline: dvc.yaml. Elsewhere nothing is returned: a clone of Boxcar watches code and settings alone.
    """
    content = (yaml.safe_load(pipeline.read_text("utf-8")) if pipeline.is_file() else None) or {}
    stages = content.get("stages") or {}
    if "computation" not in stages:
        return []
    watched = [str(path) for path in stages.get("fetch", {}).get("deps", [])]
    needed = dict.fromkeys(path for source in settings.sources for path in source.dependencies())
    return [path for path in needed if not any(Path(path).is_relative_to(known) for known in watched)]
