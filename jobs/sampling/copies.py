"""Copies the images of a sample, so that people can look at them without access to INPUT."""

from __future__ import annotations

from pathlib import Path

from jobs.convert.files import appearing
from jobs.convert.names import Names
from jobs.errors import ItemError, UsageError
from jobs.formats import DrawnImage, PlannedImage, Sample
from jobs.plan import open_input, planned_parts
from jobs.published_run import PublishedRun
from jobs.sampling.planned import published_plan
from jobs.storage import FolderStore, Store


def copy_images(run: PublishedRun, sample: Sample, folder: Path) -> Sample:
    """Copy the planned version of every drawn image to `folder`, with the name that YOLO's and VOC's labels give it.

    Returns the sample, in which images that have changed or cannot be read are marked as left out. Raises UsageError
    when `folder` lies in INPUT or the plan is not that of the run, and StorageError when a file cannot be written.
    """
    plan = published_plan(run)
    source = open_input(plan)
    if isinstance(source, FolderStore) and folder.resolve().is_relative_to(source.root):
        raise UsageError(
            f"{folder}: lies in INPUT, {source.root}, which is only read; choose another folder with --out"
        )
    drawn = {image.image: image for image in sample.images}
    names = Names()
    for _, images in planned_parts(run.store, plan):
        for planned in images:
            image = drawn.get(plan.input + planned.key)
            if image is not None:
                problem = _copy(source, planned, image, names, folder)
                drawn[image.image] = image.model_copy(update={"left_out": problem})
    return sample.model_copy(update={"images": list(drawn.values())})


def _copy(source: Store, planned: PlannedImage, image: DrawnImage, names: Names, folder: Path) -> str | None:
    """Copy one image; returns None, or the status of an image that is left out."""
    try:
        content = source.fetch(planned)
        data = content.decoded()
    except ItemError as error:
        return error.status
    if content.etag != image.etag:
        return "changed"
    # An image that is left out takes no name, because the labels do not have it either.
    name, extension = names.name(planned.key)
    with appearing([folder / f"{name}{extension}"]) as (file,):
        file.write(data)
    return None
