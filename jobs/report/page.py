"""Makes OUTPUT/report.html, the page of a run."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial

from detector.common.pages import LARGEST_SIDE, Box, Figure, drawn_first, render_template, thumbnail
from detector.runtime.artifact import Artifact
from jobs.audit.words import WORDS, statements
from jobs.formats import Audit, BoxRecord, Manifest, Plan, Validation
from jobs.left_out import left_out
from jobs.page_images import PageImages, Shown, Wanted
from jobs.plan import open_input
from jobs.report.charts import make_charts
from jobs.report.choice import GROUPS, GalleryImage, choose, is_broken
from jobs.report.samples import Samples
from jobs.storage import Store
from jobs.tally import Tally

REPORT = "report.html"
# A page of at most 5 MB opens quickly anywhere. Thumbnails get what boxes and texts leave of it.
PAGE_BYTES = 4_500_000
LARGEST_THUMBNAIL, SMALLEST_THUMBNAIL = 30_000, 3_000
_BOX_BYTES, _FIGURE_BYTES = 330, 1_200
# Most boxes drawn in one image: many boxes hide what is below them. Fewer are drawn when there are many images.
MOST_BOXES, FEWER_BOXES, MANY_FIGURES = 24, 10, 200


def render(
    output: Store,
    plan: Plan,
    artifact: Artifact,
    validation: Validation,
    tally: Tally,
    samples: Samples,
    manifest: Manifest | None,
    audit: Audit | None = None,
) -> bytes:
    """The page of a complete run, as UTF-8 HTML below 5 MB.

    tally, samples: of all parts. manifest: None when the run is not published yet; audit: what people found, if they
    looked. Parts with examples of broken rules
    are read from `output` again. Thumbnails are read from the plan's INPUT; the page says so where one cannot be read.
    Raises StorageError and UsageError of `output` only.
    """
    chosen = choose(output, plan, tally, samples, validation.rules)
    most = MOST_BOXES if len(chosen) <= MANY_FIGURES else FEWER_BOXES
    drawn = [_boxes(item, tally, most) for item in chosen]
    source = PageImages(partial(open_input, plan))
    make = partial(thumbnail, budget=_thumbnail_bytes(drawn))
    pictures = source.make([Wanted(item.sampled.image, item.sampled.record, LARGEST_SIDE, make) for item in chosen])
    figures = [
        _figure(number, item, boxes, picture)
        for number, (item, boxes, picture) in enumerate(zip(chosen, drawn, pictures, strict=True))
    ]
    used = {box.label for figure in figures for box in figure.boxes}
    groups = {group for figure in figures for group in figure.groups}
    return render_template(
        "jobs.report",
        "report.html",
        plan=plan,
        artifact=artifact,
        validation=validation,
        manifest=manifest,
        left_out=left_out(plan),
        tally=tally,
        audit=audit,
        statements={} if audit is None else statements(audit),
        words=WORDS,
        failed=tally.statuses.total() - tally.statuses["ok"],
        boxes=tally.labels.total(),
        charts=make_charts(tally, artifact, plan.min_score, tiled=plan.tile is not None),
        counts=Counter(rule.verdict for rule in validation.rules),
        broken={rule.rule for rule in validation.rules if is_broken(rule)},
        figures=figures,
        anchors={figure.title: figure.name for figure in figures},
        groups=[group for group in GROUPS if group.name in groups],
        labels=[label for label in tally.classes if label in used] + sorted(used - set(tally.classes)),
        unread=sum(
            1
            for item, picture in zip(chosen, pictures, strict=True)
            if picture.made is None and item.sampled.record.status == "ok"
        ),
        trouble=None if source.trouble is None else str(source.trouble),
    )


def _thumbnail_bytes(drawn: Sequence[Sequence[Box]]) -> int:
    """The most bytes for one thumbnail, in a page with these boxes in its figures."""
    left = PAGE_BYTES - _FIGURE_BYTES * len(drawn) - _BOX_BYTES * sum(map(len, drawn))
    return min(LARGEST_THUMBNAIL, max(SMALLEST_THUMBNAIL, left // max(1, len(drawn))))


def _boxes(item: GalleryImage, tally: Tally, most: int) -> list[Box]:
    """The best boxes of an image and its marked one, in the order of drawing."""
    best = sorted(item.sampled.record.boxes, key=lambda box: -box.score)[:most]
    if item.marked is not None and item.marked not in best:
        best[-1] = item.marked
    return drawn_first([_box(box, tally, marked=box is item.marked) for box in best])


def _box(box: BoxRecord, tally: Tally, *, marked: bool) -> Box:
    number = tally.classes.index(box.label) if box.label in tally.classes else len(tally.classes)
    return Box(box.label, number, box.score, box.x, box.y, box.width, box.height, marked=marked)


def _figure(number: int, item: GalleryImage, boxes: Sequence[Box], picture: Shown[str]) -> Figure:
    record = item.sampled.record
    return Figure(
        name=f"image-{number}",
        title=record.image,
        width=record.width,
        height=record.height,
        picture=picture.made,
        reason=picture.reason,
        boxes=boxes,
        groups=item.groups,
        notes=item.notes,
        more=len(record.boxes) - len(boxes),
    )
