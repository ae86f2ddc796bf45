"""`boxcar audit draw`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from jobs.cli.shared import open_published
from jobs.cli.text import failed, print_lines, say, warn
from jobs.errors import UsageError

# What is written to --out, beside sample.json.
PAGE = "audit.html"


def _labels(_context: click.Context, _parameter: click.Parameter, value: str | None) -> tuple[str, ...]:
    return () if value is None else tuple(label for name in value.split(",") if (label := name.strip()))


@click.command()
@click.argument("output", metavar="RUN")
@click.option(
    "--count", type=click.IntRange(min=1), default=300, show_default=True, help="Number of boxes that are drawn."
)
@click.option(
    "--images",
    type=click.IntRange(min=0),
    default=100,
    show_default=True,
    help="Number of whole images that are drawn, for what was missed.",
)
@click.option(
    "--labels", metavar="LIST", callback=_labels, help="The labels in question, separated by commas.  [default: all]"
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed draws others.")
@click.option("--out", default=".", metavar="FOLDER", help="Where the files are written.  [default: this folder]")
def draw(output: str, count: int, images: int, labels: tuple[str, ...], seed: int, out: str) -> None:
    """Draw boxes and whole images of a run for people to judge: audit.html, a page, and sample.json.

    The page is one file and needs no network. Send it to as many people as you like; each saves a file of verdicts.

    \b
    Example:
      boxcar audit draw s3://boxes/2024/ --out audit/
      boxcar audit draw s3://boxes/2024/ --labels car --count 385 --images 0 --out cars/
    """
    from jobs.rules.review import check_installed

    check_installed("the run cannot be audited")
    from jobs.audit.page import make_page
    from jobs.convert.files import appearing
    from jobs.sampling import draw_boxes, draw_sample

    if "://" in out:
        raise UsageError(f"--out {out}: give a folder of this machine, and copy the files from there")
    files = [Path(out) / "sample.json", Path(out) / PAGE]
    for file in files:
        if file.exists():
            raise UsageError(f"{file}: holds an earlier sample; choose another folder with --out")
    run = open_published(output)
    say(f"reading {run.manifest.images:,} records twice")
    sample = draw_boxes(run, draw_sample(run, images, "random", seed), count, labels)
    say(f"reading {len({box.image for box in sample.boxes} | {image.image for image in sample.images}):,} images")
    sample, page = make_page(run, sample)
    with appearing(files) as (first, second):
        first.write(sample.pretty())
        second.write(page)
    if len(sample.boxes) < count:
        warn(f"warning: there are only {len(sample.boxes):,} boxes of these labels, not {count:,}")
    reasons = [*(image.left_out for image in sample.images), *(box.left_out for box in sample.boxes)]
    left_out = Counter(reason for reason in reasons if reason is not None)
    print_lines(
        {
            "run": f"{sample.run}, {run.manifest.status}",
            "boxes": f"{len(sample.boxes):,} of {sum(stratum.boxes for stratum in sample.box_strata):,}",
            **{f"  {stratum.name}": f"{stratum.drawn:,} of {stratum.boxes:,}" for stratum in sample.box_strata},
            "images": f"{len(sample.images):,} of {sample.population:,}",
            "cannot be shown": failed(left_out),
            "page": f"{files[1]}, {len(page) / 1e6:.1f} MB",
            "written": ", ".join(map(str, files)),
        }
    )
