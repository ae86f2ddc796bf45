"""Commands for those who read what was published: `boxcar convert`, `diff` and `schema`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from jobs.cli.text import print_lines, say, warn
from jobs.errors import UsageError

if TYPE_CHECKING:
    from jobs.diff import Difference, Side
    from jobs.formats import BoxRecord
    from jobs.published_run import PublishedRun

# Of each kind of change, on a screen; --json has more.
SHOWN = 5


@click.command()
@click.argument("output")
@click.option(
    "--to",
    type=click.Choice(["coco", "csv", "parquet", "sagemaker"]),
    required=True,
    help="COCO dataset and results, a table with one row a box, or SageMaker Ground Truth's augmented manifest.",
)
@click.option("--out", default=".", metavar="FOLDER", help="Where the files are written.  [default: this folder]")
def convert(output: str, to: str, out: str) -> None:
    """Write a published run's boxes to files of another format, which bear the run's name.

    \b
    Example:
      boxcar convert s3://boxes/2024/ --to parquet --out tables/
    """
    from jobs.convert import convert as write

    if "://" in out:
        raise UsageError(f"--out {out}: give a folder of this machine, and copy the files from there")
    run = _open(output)
    if to == "sagemaker" and not run.manifest.input.startswith("s3://"):
        warn(
            f"warning: the images lie in {run.manifest.input}, and SageMaker reads s3:// only: copy them to a bucket, "
            "and put its URI in place of the folder in every source-ref"
        )
    say(f"reading {run.manifest.images:,} records")
    paths = write(run, to, Path(out))
    print_lines(
        {
            "run": f"{run.manifest.run}, {run.manifest.status}",
            "images": f"{run.manifest.images:,}, of them {run.manifest.statuses.get('ok', 0):,} ok",
            "boxes": f"{sum(run.manifest.boxes.values()):,}",
            "written": ", ".join(map(str, paths)),
        }
    )


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

    a, b = _open(run_a), _open(run_b)
    say(f"reading {a.manifest.images + b.manifest.images:,} records")
    found = compare(a, b)
    click.echo(found.pretty().decode() if as_json else _shown(found), nl=not as_json)


@click.command()
def schema() -> None:
    """Print the JSON Schema of every file in an OUTPUT.

    \b
    Example:
      boxcar schema > schema.json
    """
    from jobs.schema import json_schema

    click.echo(json.dumps(json_schema(), indent=2))


def _open(output: str) -> PublishedRun:
    """A published run; a rejected one is read too, and said to be one."""
    from jobs.published_run import PublishedRun

    run = PublishedRun.open(output)
    if run.manifest.status != "valid":
        warn(
            f"warning: {run.store.uri} was published as {run.manifest.status}; "
            f"{run.store.uri}quality/validation.json says why"
        )
    return run


def _shown(found: Difference) -> str:
    """For people: the two runs, what differs between them, the counts, and some examples."""
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
        *_table(rows, "<"),
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


def _artifact(side: Side) -> str:
    return f"{side.artifact_name} {side.artifact_sha256[:12]}"


def _notes(a: Side, b: Side) -> list[str]:
    """What makes the runs differ before any image does."""
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
    return _table(rows, ">")


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


def _table(rows: list[list[str]], align: str) -> list[str]:
    """Columns as wide as they need to be; the first one is always aligned to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(
            f"{cell:{align if number else '<'}{width}}"
            for number, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
