"""`boxcar convert`."""

from __future__ import annotations

from pathlib import Path

import click

from jobs.cli.shared import open_published
from jobs.cli.text import print_lines, say, warn
from jobs.errors import UsageError


@click.command()
@click.argument("output")
@click.option(
    "--to",
    type=click.Choice(
        ["coco", "coco-annotations", "csv", "cvat", "labelstudio", "parquet", "sagemaker", "voc", "yolo"]
    ),
    required=True,
    help="COCO dataset and results in two files, the same as one file with the boxes as annotations, a table with one "
    "row a box, CVAT for images 1.1, tasks of Label Studio with predictions, SageMaker Ground Truth's augmented "
    "manifest, or the label files of PASCAL VOC or YOLO in a ZIP file.",
)
@click.option("--bom", is_flag=True, help="Begin the CSV file with a byte order mark, so that Excel reads it as UTF-8.")
@click.option("--out", default=".", metavar="FOLDER", help="Where the files are written.  [default: this folder]")
def convert(output: str, to: str, bom: bool, out: str) -> None:
    """Write a published run's boxes to files of another format, which bear the run's name.

    \b
    Example:
      boxcar convert s3://boxes/2024/ --to parquet --out tables/
    """
    from jobs.convert import convert as write

    if "://" in out:
        raise UsageError(f"--out {out}: give a folder of this machine, and copy the files from there")
    if bom and to != "csv":
        raise UsageError(f"--bom is for --to csv, not for --to {to}: leave it out")
    run = open_published(output)
    if to == "sagemaker" and not run.manifest.input.startswith("s3://"):
        warn(
            f"warning: the images lie in {run.manifest.input}, and SageMaker reads s3:// only: copy them to a bucket, "
            "and put its URI in place of the folder in every source-ref"
        )
    say(f"reading {run.manifest.images:,} records")
    paths = write(run, to, Path(out), bom=bom)
    print_lines(
        {
            "run": f"{run.manifest.run}, {run.manifest.status}",
            "images": f"{run.manifest.images:,}, of them {run.manifest.statuses.get('ok', 0):,} ok",
            "boxes": f"{sum(run.manifest.boxes.values()):,}",
            "written": ", ".join(map(str, paths)),
        }
    )
