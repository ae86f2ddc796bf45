"""What a teacher's boxes gain: equal training with and without the images that published runs have labelled.

    OMP_NUM_THREADS=1 python -m benchmarks.teacher --teach voted=RUN,RUN --held-back people.json

The sources of --settings, labelled by people, stay as they are, and val and test are theirs. For each --teach a source
of published runs is added, which vote if there are several. Each way trains by the recipe of --settings for the same
number of steps, and is calibrated on val and measured on test as `detector evaluate` does it. A training that was
killed is resumed, and a finished one is not repeated.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatch
from pathlib import Path, PurePosixPath

import click
import numpy as np
from numpy.typing import NDArray

from detector.common.tables import markdown_table
from detector.data.annotations import CocoDataset, load_coco, save_coco
from detector.data.settings import FetchSettings
from detector.evaluation.average_precision import evaluate_voc
from detector.evaluation.bootstrap import draw_map, interval
from detector.evaluation.detections import load_results
from detector.model.weights_file import WEIGHTS_FILE
from detector.params import Params, load_params
from detector.runtime.postprocess import Detections
from detector.stages import evaluate, fetch, propose, train

SETTINGS = Path(__file__).parents[1] / "settings" / "shipped.yaml"
_IOUS = (0.5, 0.75)
_HEAD = ["way", "images", "boxes", "AP@.5", "gain, 95 %", "AP@.75", "gain, 95 %", "CPU minutes"]


@dataclass(frozen=True)
class Way:
    """What a training learns from beside the labels of people: runs, without the images whose names match a pattern.

    min_score: as in the settings of the source.
    """

    title: str
    runs: tuple[str, ...] = ()
    left_out: tuple[str, ...] = ()
    min_score: float | None = None


@dataclass(frozen=True)
class Trial:
    """The outcome of one training. images: all that it learnt from; ap_50, ap_75: 11-point, by class; draws: mean AP at
    both IoUs in draws of the test images, (2, draws)."""

    images: int
    boxes: int
    ap_50: dict[str, float]
    ap_75: dict[str, float]
    cpu_minutes: float
    draws: NDArray[np.float64]


def prepare(params: Params, way: Way, shown: int | None, folder: Path) -> CocoDataset:
    """Write the dataset of one way into `folder`, and return its training split.

    shown: images of an epoch, whatever the number of images, so that all ways have equal steps; None: all.
    """
    if not (folder / "train.json").exists():
        sources = [source.model_dump(mode="json") for source in params.fetch.sources]
        if way.runs:
            taught = {"format": "manifests", "runs": way.runs, "vote": len(way.runs) > 1, "min_score": way.min_score}
            sources.append(taught)
        settings = FetchSettings.model_validate({"seed": params.fetch.seed, "sources": sources})
        fetch.fetch(settings, settings.seed, folder, folder.parent / f"{folder.name}-splits.csv")
        found = load_coco(folder / "train.json")
        kept = [one for one in found.images if not any(fnmatch(one.file_name, pattern) for pattern in way.left_out)]
        weight = (shown or len(kept)) / len(kept)
        weighted = [replace(image, id=number, weight=weight) for number, image in enumerate(kept, start=1)]
        save_coco(CocoDataset(found.classes, tuple(weighted)), folder / "train.json")
        propose.run(params.propose, params.model.name, folder, folder / "proposals", folder / "proposals.json", 1)
    return load_coco(folder / "train.json")


def run(params: Params, way: Way, shown: int | None, out: Path) -> Trial:
    """Train one way, and measure the exported graph on test."""
    dataset, home = out / f"{way.title}-dataset", out / way.title
    truth = prepare(params, way, shown, dataset)
    proposals = dataset / "proposals"
    train.run(params.model, params.train, dataset, proposals, home / "train", home / "log", home / "state")
    spent = json.loads((home / "log/metrics.json").read_text())
    if not (home / "evaluate/detections.json").exists():
        weights = home / "train" / WEIGHTS_FILE
        evaluate.run(params.detect, params.propose, dataset, proposals, weights, home / "evaluate")
    test = load_coco(dataset / "test.json")
    found = load_results(home / "evaluate/detections.json", test)
    measured = evaluate_voc(test, found, _IOUS).by_iou
    ap_50, ap_75 = ({one.name: one.ap_11point for one in measured[iou] if one.truths} for iou in _IOUS)
    return Trial(
        images=len(truth.images),
        boxes=sum(int((~image.ignore).sum()) for image in truth.images),
        ap_50=ap_50,
        ap_75=ap_75,
        cpu_minutes=(spent["cpu_seconds"] + spent["validation_cpu_seconds"]) / 60,
        draws=np.stack([draw_map(test, found, iou) for iou in _IOUS]),
    )


def judge(truth: CocoDataset, held_back: Path) -> Iterator[list[str]]:
    """Yield for each class, and for all, how many labels of the training images are right, and how many objects of
    people, in the COCO file `held_back`, they have: at IoU .5. The images are found by the last part of their names."""
    people = load_coco(held_back)
    label_of = [people.classes.index(name) if name in people.classes else -1 for name in truth.classes]
    by_name = {PurePosixPath(image.file_name).name: image for image in truth.images}
    seen = [image for image in people.images if PurePosixPath(image.file_name).name in by_name]
    found: dict[int, Detections] = {}
    for image in seen:
        own = by_name[PurePosixPath(image.file_name).name]
        labels = np.array(label_of, np.int64)[own.labels]
        kept = ~own.ignore & (labels >= 0)
        found[image.id] = Detections(own.boxes[kept], np.ones(int(kept.sum())), labels[kept])
    results = evaluate_voc(CocoDataset(people.classes, tuple(seen)), found, (0.5,)).by_iou[0.5]
    counts: list[tuple[str, int, int, int]] = [
        (one.name, one.truths, one.true_positives, one.false_positives) for one in results if one.truths
    ]
    totals = np.array([row[1:] for row in counts]).sum(axis=0).tolist()
    shares = []
    for name, truths, right, wrong in [*counts, (f"all, on {len(seen)} images", *totals)]:
        shares.append((right / max(right + wrong, 1), right / truths))
        yield [name, f"{truths}", *(f"{share:.3f}" for share in shares[-1])]
    yield ["mean over the classes", "", *(f"{mean:.3f}" for mean in np.mean(shares[:-1], axis=0))]


def rows(trials: dict[Way, Trial]) -> Iterator[list[str]]:
    """Yield a row for each way with its means, and how far they are from the first way's, by paired draws."""
    first = next(iter(trials.values()))
    for way, trial in trials.items():
        cells = []
        for place, name in enumerate(("ap_50", "ap_75")):
            own, others = (statistics.fmean(getattr(one, name).values()) for one in (trial, first))
            low, high = interval(trial.draws[place] - first.draws[place], own - others)
            cells += [f"{own:.3f}", "" if trial is first else f"{low:+.3f} to {high:+.3f}"]
        yield [way.title, f"{trial.images:,}", f"{trial.boxes:,}", *cells, f"{trial.cpu_minutes:.0f}"]


def class_rows(trials: dict[Way, Trial]) -> Iterator[list[str]]:
    """Yield a row for each class: AP at IoU .5 and .75 of each way."""
    for name in next(iter(trials.values())).ap_50:
        yield [name, *(f"{trial.ap_50[name]:.3f} / {trial.ap_75[name]:.3f}" for trial in trials.values())]


def _ways(teach: tuple[str, ...], leave_out: tuple[str, ...], min_score: float | None) -> list[Way]:
    """Return the ways that the options name: NAME=RUN,RUN and NAME=PATTERN."""
    patterns: dict[str, list[str]] = {}
    for name, _, pattern in (option.partition("=") for option in leave_out):
        patterns.setdefault(name, []).append(pattern)
    ways = [Way("without")]
    for name, _, runs in (option.partition("=") for option in teach):
        if not runs:
            raise click.UsageError(f"--teach {name}: write NAME=RUN or NAME=RUN,RUN, as voted=boxes/a,boxes/b")
        ways.append(Way(name, tuple(runs.split(",")), tuple(patterns.pop(name, ())), min_score))
    if patterns:
        raise click.UsageError(f"--leave-out {next(iter(patterns))}: no --teach has this name")
    return ways


@click.command()
@click.option("--settings", type=click.Path(path_type=Path), default=SETTINGS, help="Default: the shipped detector's.")
@click.option("--teach", multiple=True, required=True, metavar="NAME=RUN,RUN", help="A way; several runs vote.")
@click.option("--leave-out", multiple=True, metavar="NAME=PATTERN", help="Images of a way that it must not see.")
@click.option("--min-score", type=float, help="Least score of a label. Default: those of the artifacts.")
@click.option("--held-back", type=click.Path(path_type=Path, exists=True), help="COCO file: judge the labels by it.")
@click.option("--shown", type=click.IntRange(min=1), help="Images of an epoch. Default: as many as people labelled.")
@click.option("--epochs", type=click.IntRange(min=1), help="Default: those of the settings.")
@click.option("--out", type=click.Path(path_type=Path), default=Path("build/teacher"), show_default=True)
def main(
    settings: Path,
    teach: tuple[str, ...],
    leave_out: tuple[str, ...],
    min_score: float | None,
    held_back: Path | None,
    shown: int | None,
    epochs: int | None,
    out: Path,
) -> None:
    """Print how good the labels are, and the average precision of each way, in all and by class."""
    params = load_params(settings)
    length = params.train.model_copy(update={"epochs": epochs or params.train.epochs})
    params = params.model_copy(update={"train": length})
    trials: dict[Way, Trial] = {}
    for way in _ways(teach, leave_out, min_score):
        if held_back and way.runs:
            found = list(judge(prepare(params, way, shown, out / f"{way.title}-dataset"), held_back))
            print(f"labels of {way.title}\n{markdown_table(['class', 'objects', 'precision', 'recall'], found)}")
        trials[way] = run(params, way, shown, out)
        shown = shown or trials[way].images  # those of the first way, which people labelled
        print(markdown_table(_HEAD, list(rows(trials))))
    print(markdown_table(["class, AP@.5 / .75", *(way.title for way in trials)], list(class_rows(trials))))


if __name__ == "__main__":
    main()
