"""`boxcar sample`."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import click

from jobs.cli.shared import open_published
from jobs.cli.text import failed, print_lines, say, warn
from jobs.errors import UsageError


@click.command()
@click.argument("output")
@click.option(
    "--count", type=click.IntRange(min=1), default=200, show_default=True, help="Number of images that are drawn."
)
@click.option(
    "--by",
    type=click.Choice(["random", "label", "doubtful", "drift"]),
    default="random",
    show_default=True,
    help="Draw from all images alike, from the images of each label in proportion, or more often from images whose "
    "best score is near the operating score, or which show labels or scores whose share has moved.",
)
@click.option(
    "--reference", metavar="RUN", help="With --by drift: OUTPUT of an earlier run.  [default: the artifact's baseline]"
)
@click.option(
    "--to",
    type=click.Choice(["labelstudio", "cvat", "coco", "yolo", "voc"]),
    required=True,
    help="Format of the labels; coco is that of convert --to coco-annotations.",
)
@click.option("--seed", type=int, default=0, show_default=True, help="Another seed draws other images.")
@click.option(
    "--earlier",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="sample.json of an earlier round, whose images are not drawn again; may be repeated.",
)
@click.option("--copy-images", is_flag=True, help="Copy the drawn images to images/ too.")
@click.option("--out", default=".", metavar="FOLDER", help="Where the files are written.  [default: this folder]")
def sample(
    output: str,
    count: int,
    by: str,
    reference: str | None,
    to: str,
    seed: int,
    earlier: tuple[Path, ...],
    copy_images: bool,
    out: str,
) -> None:
    """Draw images of a published run for people to check: sample.json, and their labels.

    sample.json says with which probability each image was drawn. Give each round a folder of its own.

    \b
    Example:
      boxcar sample s3://boxes/2024/ --count 200 --to labelstudio --out round-1/
      boxcar sample s3://boxes/2024/ --by doubtful --to labelstudio --out round-2/ --earlier round-1/sample.json
    """
    from jobs.convert import convert
    from jobs.convert.files import appearing
    from jobs.published_run import PublishedRun
    from jobs.sampling import SampledRun, draw_sample, read_earlier
    from jobs.sampling import copy_images as copy

    folder = Path(out)
    file = folder / "sample.json"
    if "://" in out:
        raise UsageError(f"--out {out}: give a folder of this machine, and copy the files from there")
    if file.exists():
        raise UsageError(f"{file}: holds an earlier sample; choose another folder with --out")
    if reference is not None and by != "drift":
        raise UsageError("--reference is that of --by drift; give both, or neither")
    run = open_published(output)
    before = None if reference is None else PublishedRun.open(reference)
    rounds = read_earlier(run, earlier)
    say(f"reading {run.manifest.images:,} records")
    made = draw_sample(run, count, by, seed, rounds, before)
    if copy_images:
        say(f"copying {len(made.images):,} images")
        made = copy(run, made, folder / "images")
    paths = convert(SampledRun.of(run, made), "coco-annotations" if to == "coco" else to, folder)
    with appearing([file]) as (written,):
        written.write(made.pretty())
    if len(made.images) < count:
        warn(f"warning: only {len(made.images):,} images were left to draw, not {count:,}")
    left_out = Counter(image.left_out for image in made.images if image.left_out is not None)
    print_lines(
        {
            "run": f"{made.run}, {run.manifest.status}",
            "drawn": f"{len(made.images):,} of {made.population - made.excluded:,}",
            **{f"  {stratum.name}": f"{stratum.drawn:,} of {stratum.images:,}" for stratum in made.strata},
            **({"left out": failed(left_out)} if copy_images else {}),
            "for estimates": "yes" if made.for_estimates else "no: some images could not be drawn in this round",
            "written": ", ".join(map(str, [file, *paths])),
        }
    )
