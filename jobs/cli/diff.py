"""`boxcar diff`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from jobs.cli.shared import open_published
from jobs.cli.text import say, table

if TYPE_CHECKING:
    from jobs.diff import ComparedRun, Difference
    from jobs.formats import BoxRecord

# Examples of each kind of change on a screen; --json has more.
SHOWN = 5


@click.command()
@click.argument("run_a")
@click.argument("run_b")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON object, with up to 20 examples of each change.")
def diff(run_a: str, run_b: str, as_json: bool) -> None:
    """Show what changed from one published run to another: images, and boxes of each label.

    RUN_A and RUN_B are the OUTPUTs of two runs. Images are the same when their keys below INPUT are. In images that
    are ok in both runs, boxes of a label are matched by their overlap, from an IoU of .5 on.

    \b
    Example:
      boxcar diff s3://boxes/monday/ s3://boxes/tuesday/
    """
    from jobs.diff import diff as compare

    a, b = open_published(run_a), open_published(run_b)
    say(f"reading {a.manifest.images + b.manifest.images:,} records")
    found = compare(a, b)
    click.echo(found.pretty().decode() if as_json else _text(found), nl=not as_json)


def _text(found: Difference) -> str:
    """The two runs, what differs between them, the counts, and some examples, for people."""
    a, b = found.a, found.b
    rows = [
        ["", "A", "B"],
        ["output", a.output, b.output],
        ["run", *(f"{side.run}, {side.status}" for side in (a, b))],
        ["planned", a.planned_at, b.planned_at],
        ["artifact", _artifact(a), _artifact(b)],
        ["min score", str(a.min_score), str(b.min_score)],
        ["plan", a.plan_digest[:12], b.plan_digest[:12]],
        ["input", a.input, b.input],
        ["images", f"{a.images:,}", f"{b.images:,}"],
    ]
    images = found.images
    lines = [
        *table(rows),
        "",
        *_notes(a, b),
        f"images: {images.both:,} in both, {images.only_in_a:,} only in A, {images.only_in_b:,} only in B, "
        f"{images.new_version:,} of a new version, {images.other_status:,} of another status",
        f"boxes in the {images.compared:,} images that are ok in both:",
        "",
        *_labels(found),
        *_image_examples(found),
        *_box_examples(found),
    ]
    return "\n".join(lines)


def _artifact(side: ComparedRun) -> str:
    return f"{side.artifact_name} {side.artifact_sha256[:12]}"


def _notes(a: ComparedRun, b: ComparedRun) -> list[str]:
    """Notes about differences that concern the runs as a whole."""
    notes = []
    if a.plan_digest == b.plan_digest:
        notes.append("both are of one plan")
    if a.artifact_sha256 != b.artifact_sha256:
        notes.append("the artifacts differ")
    if a.min_score != b.min_score:
        low, high = sorted((a.min_score, b.min_score))
        notes.append(f"min score differs: boxes with scores from {low} to {high} can only be in one of them")
    if a.input != b.input:
        notes.append("the inputs differ: images are paired by their keys below them")
    return [f"note: {note}" for note in notes]


def _labels(found: Difference) -> list[str]:
    names = ("a", "b", "same", "rescored", "moved", "added", "lost")
    counts = [(label, [getattr(changes, name) for name in names]) for label, changes in found.labels.items()]
    counts.append(("all", [sum(row[column] for _, row in counts) for column in range(len(names))]))
    rows = [["label", "A", "B", *names[2:]]]
    rows += [[label, *(f"{count:,}" for count in row)] for label, row in counts]
    return table(rows, ">")


def _image_examples(found: Difference) -> list[str]:
    lines = []
    for change, examples in found.image_examples.items():
        lines += [f"\n{change.replace('_', ' ')}:"] if examples else []
        for image in examples[:SHOWN]:
            statuses = [status for status in (image.a, image.b) if status is not None]
            lines.append(f"  {image.image!r}  {' -> '.join(dict.fromkeys(statuses))}")
    return lines


def _box_examples(found: Difference) -> list[str]:
    lines = []
    for change, examples in found.box_examples.items():
        lines += [f"\n{change}:"] if examples else []
        for box in examples[:SHOWN]:
            boxes = " -> ".join(_box(side) for side in (box.a, box.b) if side is not None)
            lines.append(f"  {box.image!r}  {box.label}  {boxes}")
    return lines


def _box(box: BoxRecord) -> str:
    return f"{box.score:.4f} at {box.x:g},{box.y:g} {box.width:g}x{box.height:g}"
