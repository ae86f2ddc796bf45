"""Records a training: average precision on val against minutes, a curve that others can try to beat.

    OMP_NUM_THREADS=1 python -m benchmarks.record

trains the recipe of the shipped detector on `build/dataset`, which `detector fetch` made from the same settings.
Minutes are CPU time on a processor, without the loader process that decodes images, and wall time on a GPU; the
measurements on val do not count. A killed training is resumed, and a finished one is not repeated. `--beside` draws
records of others into the same picture.
"""

from __future__ import annotations

import csv
from dataclasses import asdict, dataclass, fields
from pathlib import Path

import click
import matplotlib
from matplotlib.figure import Figure

from detector.common.plotting import STYLE
from detector.common.tables import markdown_table
from detector.compare.family.measure import propose_once
from detector.data.annotations import load_coco
from detector.model.torch_file import read_torch
from detector.params import load_params
from detector.stages import train

SETTINGS = Path(__file__).parents[1] / "settings" / "shipped.yaml"
RECORD, PICTURE = "record.csv", "record.png"


@dataclass(frozen=True)
class Point:
    """What a training had reached after an epoch. minutes: since its start; ap, ap_50: on val, all-point, 0 to 1."""

    epoch: int
    minutes: float
    ap: float
    ap_50: float


def points(state: Path) -> list[Point]:
    """Return the points of the finished training whose only checkpoint is in the folder `state`."""
    (checkpoint,) = state.glob("*.pt")
    found, minutes = [], 0.0
    for report in read_torch(checkpoint)["reports"]:
        minutes += report["cpu_seconds" if report["device"] == "cpu" else "seconds"] / 60
        measured = report["validation"]
        found.append(Point(report["epoch"], round(minutes, 3), round(measured["ap"], 4), round(measured["ap_50"], 4)))
    return found


def write(path: Path, found: list[Point]) -> None:
    """Write a record as CSV."""
    with path.open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, [field.name for field in fields(Point)])
        table.writeheader()
        table.writerows(asdict(point) for point in found)


def read(path: Path) -> list[Point]:
    """Return the record in a CSV file. Raises click.ClickException if it is none."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            found = [
                Point(int(row["epoch"]), *(float(row[name]) for name in ("minutes", "ap", "ap_50")))
                for row in csv.DictReader(file)
            ]
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise click.ClickException(f"{path}: is no record of this command: {error!r}") from error
    if not found:
        raise click.ClickException(f"{path}: is an empty record")
    return found


def draw(records: dict[str, list[Point]], path: Path) -> None:
    """Write a PNG of two panels, AP over the minutes of each record."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.8), dpi=130, layout="constrained")
        for axes, name, title in zip(figure.subplots(1, 2), ("ap_50", "ap"), ("IoU .5", "IoU .5 to .95"), strict=True):
            for label, found in records.items():
                values = [getattr(point, name) for point in found]
                axes.plot([point.minutes for point in found], values, marker="o", markersize=3, label=label)
            axes.set(xlabel="minutes of training", ylabel=f"AP on val, {title}", xlim=(0, None), ylim=(0, None))
            axes.grid(alpha=0.3)
        figure.axes[0].legend(frameon=False, fontsize=8)
        figure.savefig(path)


@click.command()
@click.option("--settings", type=click.Path(path_type=Path, exists=True), default=SETTINGS, help="The recipe.")
@click.option("--dataset", type=click.Path(path_type=Path, exists=True), default=Path("build/dataset"))
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/record"), show_default=True)
@click.option("--beside", multiple=True, type=click.Path(path_type=Path), help="A record.csv to draw too.")
def main(settings: Path, dataset: Path, out: Path, beside: tuple[Path, ...]) -> None:
    """Train, print the record, and write it as CSV and as a picture."""
    others = {str(path): read(path) for path in beside}
    val = load_coco(dataset / "val.json")
    if all((image.ignore | image.crowd).all() for image in val.images):
        raise click.ClickException(f"{dataset / 'val.json'}: no image has a box, so that nothing can be measured")
    params = load_params(settings)
    proposals, state = propose_once(params, dataset, out / "proposals"), out / "state"
    train.run(params.model, params.train, dataset, proposals, out / "train", out / "log", state)
    found = points(state)
    write(out / RECORD, found)
    draw({"this training": found, **others}, out / PICTURE)
    rows = [[f"{p.epoch}", f"{p.minutes:.1f}", f"{p.ap_50:.3f}", f"{p.ap:.3f}"] for p in found]
    print(markdown_table(["epoch", "minutes", "AP@.5 on val", "AP on val"], rows))


if __name__ == "__main__":
    main()
