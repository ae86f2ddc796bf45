"""What several formats share: the images that were read, and edges inside the image."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from jobs.errors import UsageError
from jobs.formats import BoxRecord, Record
from jobs.published_run import PublishedRun


def detected(run: PublishedRun, labels: Collection[str]) -> Iterator[tuple[Record, int, int]]:
    """Every record whose status is ok, with the image's height and width, which most formats need.

    Other images are left out: without boxes they would look like images in which nothing was found. Raises UsageError
    when a record has no size of its image, or a label that is not among `labels`.
    """
    for record in run.records():
        if record.status != "ok":
            continue
        if record.height is None or record.width is None:
            raise UsageError(
                f"{record.image}: its record has no width and height, which this format needs; convert to csv or "
                "parquet"
            )
        for box in record.boxes:
            if box.label not in labels:
                raise unknown_label(run, box.label)
        yield record, record.height, record.width


def unknown_label(run: PublishedRun, label: str) -> UsageError:
    """An error for a label that the manifest does not list, although the records agree with its digests."""
    return UsageError(
        f"{run.store.uri}manifest.json: lists no label {label!r}, which a box has; publish the run again with: "
        f"boxcar finish {run.store.uri}"
    )


def edges_inside(box: BoxRecord, height: int, width: int) -> tuple[float, float, float, float]:
    """The box as left, top, right, bottom in pixels. An edge outside the image, which only a rejected run has, is moved
    to the image's border."""
    left, right = (min(max(edge, 0.0), float(width)) for edge in (box.x, box.x + box.width))
    top, bottom = (min(max(edge, 0.0), float(height)) for edge in (box.y, box.y + box.height))
    return left, top, right, bottom
