"""Does what an audit says hold? Draw samples of made-up runs and of a real one, whose truth is known.

    boxcar run TEST-PHOTOGRAPHS OUTPUT
    python -m benchmarks.audit --run OUTPUT

It draws 1,000 samples of each made-up run, and 20 of a run over the test split that `fetch` has written.
A statement covers when the truth lies in its range; 95 % of the statements must, within three standard errors of the
number of draws. The command ends with an error where fewer do.
"""

from __future__ import annotations

import math
import sys
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import click
import numpy as np
from numpy.typing import NDArray

from detector.data.annotations import CocoDataset, load_coco
from detector.runtime.geometry.boxes import xyxy_to_xywh
from detector.stages import layout
from jobs.audit.counts import corrected_total
from jobs.audit.intervals import CONFIDENCE, Stratum, interval
from jobs.audit.judge import LEAST_ERRORS, collect, make_audit
from jobs.audit.threshold import STEPS, ScoredStratum, least_score
from jobs.audit.verdicts import Given
from jobs.formats import Verdicts, sha256
from jobs.published_run import PublishedRun
from jobs.sampling import draw_boxes, draw_sample
from jobs.sampling.draw import allocate
from tests.support.verdicts import Known, judge_image, verdicts

PRECISIONS = (0.5, 0.9, 0.99)
# A run of 20,000 boxes, whose rarest label has 2 of 200 drawn boxes, and whose labels are right more or less often.
LABELS = {"a": 9_000, "b": 6_000, "c": 3_000, "d": 1_000, "e": 800, "rare": 200}
UNEVEN = {"a": 0.3, "b": -0.2, "c": 0.0, "d": -0.9, "e": 0.4, "rare": -1.5}  # on the scale of the log-odds


class Tally:
    """How often statements cover the truth, and how wide they are; prints a row of each kind."""

    def __init__(self) -> None:
        self.failed = False

    def row(self, name: str, covered: Sequence[bool], made: int, draws: int, more: str = "") -> None:
        """Print a row; covered: for each statement that was made."""
        share = float(np.mean(covered)) if covered else math.nan
        error = math.sqrt(CONFIDENCE * (1 - CONFIDENCE) / max(1, len(covered)))
        short = bool(covered) and share < CONFIDENCE - 3 * error
        self.failed |= short
        print(f"{name:58} {share:7.3f} {made / draws:6.2f}  {more}{'  TOO FEW' if short else ''}", flush=True)


def shares(tally: Tally, draws: int, dice: np.random.Generator) -> None:
    """The share of right boxes: of one label, of labels together, and of a label with 2 of 200 boxes."""
    print(f"\n{'share of right boxes':58} {'covers':>7} {'made':>6}  mean reach on either side, in points")
    for precision in PRECISIONS:
        for size in (2_000, 1_000_000):
            right = round(size * precision)
            ranges = [
                interval([Stratum(size, 385, good)]) for good in dice.hypergeometric(right, size - right, 385, draws)
            ]
            _row(tally, f"one label, precision {precision}, 385 of {size:,} boxes", ranges, right / size, draws)
        odds = {label: math.log(precision / (1 - precision)) + shift for label, shift in UNEVEN.items()}
        right_of = {label: round(LABELS[label] / (1 + math.exp(-value))) for label, value in odds.items()}
        truth = sum(right_of.values()) / sum(LABELS.values())
        drawn = allocate(LABELS, 200, {})
        together, rare = [], []
        for _ in range(draws):
            strata = {
                label: Stratum(
                    size,
                    drawn[label],
                    int(dice.hypergeometric(right_of[label], size - right_of[label], drawn[label])),
                )
                for label, size in LABELS.items()
            }
            together.append(interval(list(strata.values())))
            rare.append(interval([strata["rare"]]))
        _row(tally, f"six labels together, precision {truth:.3f}, 200 boxes", together, truth, draws)
        rare_truth = right_of["rare"] / LABELS["rare"]
        _row(tally, f"a label with {drawn['rare']} of 200 boxes, precision {rare_truth:.3f}", rare, rare_truth, draws)


def _row(tally: Tally, name: str, ranges: Sequence[tuple[float, float]], truth: float, draws: int) -> None:
    reach = 50 * np.mean([high - low for low, high in ranges])
    widest = 50 * max(high - low for low, high in ranges)
    covered = [low <= truth <= high for low, high in ranges]
    tally.row(name, covered, draws, draws, f"{reach:.1f}, at most {widest:.1f}")


def counts(tally: Tally, draws: int, dice: np.random.Generator) -> None:
    """The number of objects in 5,000 images from 100 of them; the detector's counts are more or less like people's."""
    _heading()
    for name, mean in (("many objects (3 in an image)", 3.0), ("some (1)", 1.0), ("few (0.4)", 0.4)):
        for kind, recall, false in (("good", 0.9, 0.1), ("fair", 0.7, 0.3), ("poor", 0.3, 2.0)):
            objects = dice.negative_binomial(0.7, 0.7 / (0.7 + mean), 5_000)
            found = dice.binomial(objects, recall)
            wrong = dice.poisson(false * mean, 5_000)
            errors = (objects > found) | (wrong > 0)
            _counts(tally, f"{name}, a {kind} detector", objects, found + wrong, errors, draws, dice)


def _heading() -> None:
    print(f"\n{'number of objects':58} {'covers':>7} {'made':>6}  width over that of the 100 images alone, correlation")


def _counts(
    tally: Tally,
    name: str,
    objects: NDArray[np.int64],
    boxes: NDArray[np.int64],
    errors: NDArray[np.bool_],
    draws: int,
    dice: np.random.Generator,
) -> None:
    """Samples of 100 images; objects, boxes, errors: (N,) for each image, how many there are, and whether one is
    missed or wrong."""
    images, looked, truth = len(objects), min(100, len(objects)), int(objects.sum())
    correlation = float(np.corrcoef(objects, boxes)[0, 1]) if objects.any() and boxes.any() else 0.0
    covered, widths = [], []
    for _ in range(draws):
        drawn = dice.choice(images, looked, replace=False)
        if errors[drawn].sum() < LEAST_ERRORS:
            continue
        total = corrected_total(objects[drawn].tolist(), boxes[drawn].tolist(), images, int(boxes.sum()))
        alone = corrected_total(objects[drawn].tolist(), [0.0] * looked, images, 0)
        covered.append(total.low <= truth <= total.high)
        widths.append((total.high - total.low) / (alone.high - alone.low))
    width = float(np.mean(widths)) if widths else math.nan
    tally.failed |= width > (1.0 if correlation > 0.5 else 1.05)
    tally.row(name, covered, len(covered), draws, f"{width:.2f}, {correlation:.2f}")


def thresholds(tally: Tally, draws: int, dice: np.random.Generator) -> None:
    """The score from which on a run is precise enough: calibrated scores, and scores that say nothing."""
    print(f"\n{'score to trust':58} {'holds':>7} {'made':>6}  mean share of boxes at or above it, best possible")
    for name, slope, base in (("calibrated", 1.0, 0.0), ("too modest", 0.42, 0.6), ("meaningless", 0.0, 0.9)):
        for labels in (["a"], ["a", "b", "rare"]):
            label = np.repeat(np.arange(len(labels)), [LABELS[one] for one in labels])
            scores = np.round((0.3 + 0.7 * dice.beta(2, 1.2, len(label))) * STEPS).astype(np.int64)
            right = dice.random(len(label)) < np.clip(base + slope * scores / STEPS, 0, 1)
            sizes = [np.bincount(scores[label == number], minlength=STEPS + 1) for number in range(len(labels))]
            above = np.bincount(scores, minlength=STEPS + 1)[::-1].cumsum()[::-1]
            precise = np.bincount(scores[right], minlength=STEPS + 1)[::-1].cumsum()[::-1] / np.maximum(1, above)
            for wanted in (0.8, 0.9):
                drawn = allocate({str(number): int(size.sum()) for number, size in enumerate(sizes)}, 300, {})
                found = [
                    least_score(list(_scored(label, scores, right, sizes, drawn, dice)), wanted) for _ in range(draws)
                ]
                holds = [precise[score] >= wanted for score in found if score is not None]
                kept = np.mean([0 if score is None else above[score] / len(label) for score in found])
                best = max((above[precise >= wanted]), default=0) / len(label)
                # A score that is not named promises nothing: the promise is broken in draws, not in statements.
                promised = [*holds, *[True] * (draws - len(holds))]
                kind = f"{name} scores, {len(labels)} {'label' if len(labels) == 1 else 'labels'}, {wanted:.0%}"
                tally.row(kind, promised, len(holds), draws, f"{kept:.2f}, {best:.2f}")


def _scored(
    label: NDArray[np.int64],
    scores: NDArray[np.int64],
    right: NDArray[np.bool_],
    sizes: Sequence[NDArray[np.int64]],
    drawn: Mapping[str, int],
    dice: np.random.Generator,
) -> Iterator[ScoredStratum]:
    for number, size in enumerate(sizes):
        places = dice.choice(np.flatnonzero(label == number), drawn[str(number)], replace=False)
        yield ScoredStratum(size, scores[places], right[places])


def photographs(tally: Tally, output: Path, dataset: Path, split: str, seeds: int, draws: int) -> None:
    """A run over photographs, with verdicts from their annotations. A record finds its image by the file's name."""
    run = PublishedRun.open(str(output))
    objects = {Path(name).name: found for name, found in _known(load_coco(dataset / f"{split}.json")).items()}
    known = {record.image: objects[Path(record.image).name] for record in run.records()}
    _audits(tally, run, known, seeds)
    _heading()
    for label in (None, *sorted({one.label for found in known.values() for one in found})):
        _count_photographs(tally, run, known, label, draws)


def _count_photographs(
    tally: Tally, run: PublishedRun, known: Mapping[str, Sequence[Known]], label: str | None, draws: int
) -> None:
    """Many samples of the photographs, without pages and files."""
    labels, rows = set(run.labels()), []
    for record in run.records():
        said, missed = judge_image(record, known[record.image], labels)
        of = [box for box in record.boxes if label in (None, box.label)]
        wrong = [
            box
            for box, verdict in zip(record.boxes, said, strict=True)
            if verdict.verdict != "right" and (label is None or label in (box.label, verdict.label))
        ]
        left = [one for one in missed if label in (None, one.label)]
        there = [one for one in known[record.image] if label in (None, one.label)]
        rows.append((len(there), len(of), bool(wrong or left)))
    objects, boxes, errors = (np.array(column) for column in zip(*rows, strict=True))
    _counts(tally, label or "all labels", objects, boxes, errors, draws, np.random.default_rng(0))


def _known(truth: CocoDataset) -> dict[str, list[Known]]:
    """The objects of each image, by its file's name; crowds are no single objects."""
    found: dict[str, list[Known]] = {}
    for image in truth.images:
        rows = zip(xyxy_to_xywh(image.boxes).tolist(), image.labels, image.crowd, strict=True)
        found[image.file_name] = [Known(truth.classes[label], tuple(box)) for box, label, crowd in rows if not crowd]
    return found


def _audits(tally: Tally, run: PublishedRun, known: Mapping[str, Sequence[Known]], seeds: int) -> None:
    labels = set(run.labels())
    right, boxes = defaultdict[str | None, int](int), defaultdict[str | None, int](int)
    objects, with_missed = 0, 0
    for record in run.records():
        said, missed = judge_image(record, known[record.image], labels)
        with_missed += bool(missed)
        for box, verdict in zip(record.boxes, said, strict=True):
            for label in (None, box.label):
                boxes[label] += 1
                right[label] += verdict.verdict == "right"
        objects += len(known[record.image])
    covered: dict[str, list[bool]] = defaultdict(list)
    ranges: dict[str, list[tuple[float, float]]] = defaultdict(list)
    images = 0
    for seed in range(seeds):
        sample = draw_boxes(run, draw_sample(run, 100, "random", seed), 300, ())
        file: Verdicts = verdicts(sample, run.records(), known)
        given = [Given(file, sha256(file.pretty()))]
        audit = make_audit(run, given, collect(run, given), 0.7, None)
        images = audit.missed[0].images
        for one in audit.precision:
            kind = "share of right boxes" + ("" if one.label is None else ", of a label")
            covered[kind].append(one.low <= right[one.label] / boxes[one.label] <= one.high)
            ranges[kind].append((one.low, one.high))
        overall = audit.missed[0]
        covered["share of images with a missed object"].append(overall.low <= with_missed / images <= overall.high)
        ranges["share of images with a missed object"].append((overall.low, overall.high))
    share = right[None] / boxes[None] if boxes[None] else math.nan
    print(
        f"\n{images} photographs, {boxes[None]:,} boxes, {share:.3f} of them right; {objects:,} objects; objects "
        f"missed in {with_missed} images; {seeds} seeds of 300 boxes and 100 images\n"
        f"{'':58} {'covers':>7} {'':>6}  mean range"
    )
    for kind, found in covered.items():
        low, high = np.mean(ranges[kind], axis=0)
        tally.row(kind, found, len(found), len(found), f"{low:.3g} to {high:.3g}")


@click.command()
@click.option("--draws", type=click.IntRange(min=1), default=1000, show_default=True)
@click.option("--run", type=click.Path(path_type=Path), help="OUTPUT of a run over the images of one split.")
@click.option("--dataset", type=click.Path(path_type=Path), default=layout.DATASET, show_default=True)
@click.option("--split", default="test", show_default=True)
@click.option("--seeds", type=click.IntRange(min=1), default=20, show_default=True)
def main(draws: int, run: Path | None, dataset: Path, split: str, seeds: int) -> None:
    """Count how often the statements of audits cover the truth."""
    tally = Tally()
    dice = np.random.default_rng(0)
    for part in (shares, counts, thresholds):
        part(tally, draws, dice)
    if run is not None:
        photographs(tally, run, dataset, split, seeds, draws)
    if tally.failed:
        sys.exit("some statements cover the truth too rarely")


if __name__ == "__main__":
    main()
