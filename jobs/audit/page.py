"""Makes audit.html, the page on which people look at a sample, and marks what nobody can look at.

The page is one file that loads nothing. What people say stays in their browser until they save it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from detector.common.pages import colour_class, jpeg_uri, render_template
from detector.common.text import visible
from detector.runtime.images import Pixels
from jobs.formats import BoxRecord, DrawnBox, PlannedImage, Record, Sample, sha256
from jobs.page_images import PageImages, Wanted
from jobs.plan import open_input, planned_parts
from jobs.published_run import PublishedRun
from jobs.sampling import published_plan

# Pixels of the longer side, and JPEG quality: sharp on a phone, and 300 boxes and 100 images make about 15 MB.
_CROP, _WHOLE, _QUALITY = 400, 900, 75
# A crop shows its box with this share of the box's longer side around it, and at least some pixels.
_AROUND, _LEAST_AROUND = 0.6, 32.0

# (x, y, width, height) in pixels of an image.
Area = tuple[float, float, float, float]


@dataclass
class _Look:
    """What is shown of one image. crops: the places of its drawn boxes in the sample, with their area."""

    record: Record
    whole: bool = False
    crops: list[tuple[int, Area]] = field(default_factory=list)

    @property
    def frame(self) -> Area:
        return 0.0, 0.0, float(self.record.width or 1), float(self.record.height or 1)

    @property
    def side(self) -> float:
        """The longer side in pixels at which the image must be read."""
        longest = max(self.frame)
        sides = [longest * _CROP / max(area[2:]) for _, area in self.crops]
        return max([*sides, float(_WHOLE) if self.whole else 0.0])


def make_page(run: PublishedRun, sample: Sample) -> tuple[Sample, bytes]:
    """The sample, in which images that cannot be looked at are marked as left out, and the page for it, in UTF-8.

    Raises UsageError when the plan is not that of the run, and what storage raises: an INPUT that cannot be read says
    nothing about its images.
    """
    looks = _looks(run, sample)
    plan = published_plan(run)
    source = PageImages(partial(open_input, plan))
    planned = {
        plan.input + image.key: image
        for _, images in planned_parts(run.store, plan)
        for image in images
        if plan.input + image.key in looks
    }
    wanted = [_wanted(planned[name], look) for name, look in looks.items()]
    shown = dict(zip(looks, source.make(wanted), strict=True))
    if source.trouble is not None:
        raise source.trouble
    left_out = {name: picture.status for name, picture in shown.items()}
    sample = sample.model_copy(
        update={
            "images": [image.model_copy(update={"left_out": left_out[image.image]}) for image in sample.images],
            "boxes": [box.model_copy(update={"left_out": left_out[box.image]}) for box in sample.boxes],
        }
    )
    pictures = {name: picture.made for name, picture in shown.items() if picture.made is not None}
    data = {
        # As text, so that the browser gives back the same bytes.
        "sample": sample.canonical().decode(),
        "digest": sha256(sample.pretty()),
        "labels": [{"name": label, "shown": visible(label)} for label in sample.labels],
        "boxes": [
            _box(sample, drawn, looks[drawn.image], number, pictures[drawn.image])
            for number, drawn in enumerate(sample.boxes)
            if drawn.image in pictures
        ],
        "wholes": [
            _whole(sample, looks[image.image], pictures[image.image])
            for image in sample.images
            if image.image in pictures
        ],
    }
    return sample, render_template("jobs.audit", "audit.html", own="audit", run=run.manifest, sample=sample, data=data)


def _looks(run: PublishedRun, sample: Sample) -> dict[str, _Look]:
    """What is shown of each image, by URI."""
    boxes: dict[str, list[tuple[int, DrawnBox]]] = defaultdict(list)
    for number, drawn in enumerate(sample.boxes):
        boxes[drawn.image].append((number, drawn))
    wholes = {image.image for image in sample.images}
    looks: dict[str, _Look] = {}
    for record in run.records():
        if record.image in boxes or record.image in wholes:
            look = looks[record.image] = _Look(record, record.image in wholes)
            look.crops = [(number, _around(drawn.box, look.frame)) for number, drawn in boxes.get(record.image, [])]
    return looks


def _around(box: BoxRecord, frame: Area) -> Area:
    """The area of an image that shows a box and what is around it."""
    margin = max(_AROUND * max(box.width, box.height), _LEAST_AROUND)
    left, top = max(0.0, box.x - margin), max(0.0, box.y - margin)
    right, bottom = min(frame[2], box.x + box.width + margin), min(frame[3], box.y + box.height + margin)
    return left, top, max(1.0, right - left), max(1.0, bottom - top)


def _wanted(planned: PlannedImage, look: _Look) -> Wanted[dict[int | None, str]]:
    def make(pixels: Pixels) -> dict[int | None, str]:
        """`data:` URIs: of each crop by the place of its box in the sample, and of the whole image as None."""
        down, across = pixels.shape[0] / look.frame[3], pixels.shape[1] / look.frame[2]
        made: dict[int | None, str] = {}
        for number, (x, y, width, height) in look.crops:
            rows = slice(int(y * down), max(int(y * down) + 1, round((y + height) * down)))
            columns = slice(int(x * across), max(int(x * across) + 1, round((x + width) * across)))
            made[number] = jpeg_uri(pixels[rows, columns], _CROP, _QUALITY)
        if look.whole:
            made[None] = jpeg_uri(pixels, _WHOLE, _QUALITY)
        return made

    return Wanted(planned, look.record, look.side, make)


def _box(sample: Sample, drawn: DrawnBox, look: _Look, number: int, made: dict[int | None, str]) -> dict[str, Any]:
    area = next(area for place, area in look.crops if place == number)
    return {
        "title": visible(drawn.image),
        "picture": made[number],
        "area": area,
        "others": [
            _rectangle(box)
            for place, box in _audited(sample, look.record)
            if place != drawn.number and _meets(box, area)
        ],
        **_judged(sample, drawn.image, drawn.number, drawn.box),
    }


def _whole(sample: Sample, look: _Look, made: dict[int | None, str]) -> dict[str, Any]:
    image = look.record.image
    return {
        "image": image,
        "title": visible(image),
        "picture": made[None],
        "area": look.frame,
        "boxes": [_judged(sample, image, number, box) for number, box in _audited(sample, look.record)],
    }


def _judged(sample: Sample, image: str, number: int, box: BoxRecord) -> dict[str, Any]:
    place = sample.labels.index(box.label)
    return {
        "image": image, "number": number, "label": place, "colour": colour_class(place), "box": _rectangle(box),
    }  # fmt: skip


def _audited(sample: Sample, record: Record) -> Sequence[tuple[int, BoxRecord]]:
    """The boxes of an image that the audit is about, with their places in the record."""
    labels = set(sample.labels)
    return [(number, box) for number, box in enumerate(record.boxes) if box.label in labels]


def _rectangle(box: BoxRecord) -> Area:
    return box.x, box.y, box.width, box.height


def _meets(box: BoxRecord, area: Area) -> bool:
    x, y, width, height = area
    return box.x < x + width and box.x + box.width > x and box.y < y + height and box.y + box.height > y
