"""Follows a run back to the runs whose boxes trained its artifact, and these to the runs that trained theirs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from detector.runtime.label_run import LabelRun
from jobs.errors import JobError
from jobs.published_run import PublishedRun

# Labels whose least score is shown; --json has all.
MOST_NAMED = 5


@dataclass(frozen=True)
class Teacher:
    """A run whose boxes were labels, as the artifact that learnt them records it.

    before: the runs behind the artifact that made it; not_followed: why these are not known, or None.
    """

    recorded: LabelRun
    before: tuple[Teacher, ...] = ()
    not_followed: str | None = None

    def plain(self) -> dict[str, Any]:
        """The content as plain data."""
        before = None if self.not_followed else [teacher.plain() for teacher in self.before]
        return self.recorded.model_dump(mode="json") | {"label_runs": before, "not_followed": self.not_followed}


def teachers(run: PublishedRun) -> tuple[Teacher, ...]:
    """The runs whose boxes trained the artifact of a run; none where it learnt from people's labels alone.

    A run is followed while it is published where the artifact says, with the manifest that the artifact names.
    Raises ModelError when OUTPUT does not hold the artifact's description that made the run.
    """
    return tuple(_follow(recorded) for recorded in run.label_runs())


def _follow(recorded: LabelRun) -> Teacher:
    # An artifact holds the digests of the manifests behind it, so that no chain comes back to its beginning.
    try:
        run = PublishedRun.open(recorded.uri)
        if run.digest != recorded.manifest_sha256:
            return Teacher(recorded, not_followed=f"{run.store.uri} holds another run now")
        return Teacher(recorded, before=teachers(run))
    except JobError as error:
        return Teacher(recorded, not_followed=str(error))


def _scores(least: Mapping[str, float]) -> str:
    """The least scores of a few labels, or the lowest and the highest of many."""
    named = [f"{label} {score:g}" for label, score in sorted(least.items(), key=lambda item: item[1])]
    return ", ".join(named) if len(named) <= MOST_NAMED else f"{named[0]} to {named[-1]}"


def describe(found: tuple[Teacher, ...]) -> list[str]:
    """Lines for people; what is behind a run is indented below it."""
    lines = []
    for teacher in found:
        run = teacher.recorded
        lines += [
            f"run {run.run} in {run.uri}, manifest sha256 {run.manifest_sha256}",
            f"  {run.images:,} images; {run.boxes:,} boxes became objects; people corrected {run.corrected:,} images",
            f"  least scores: {_scores(run.least_scores)}",
            f"  made by {run.artifact}, model.json sha256 {run.artifact_sha256}",
        ]
        if teacher.not_followed is not None:
            lines.append(f"  not followed: {teacher.not_followed}")
        elif teacher.before:
            lines += ["  whose labels came from:", *(f"    {line}" for line in describe(teacher.before))]
        else:
            lines.append("  no run is recorded behind it")
    return lines
