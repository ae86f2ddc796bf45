"""How many objects a class needs for a score of its own: thresholds chosen on a few images, and measured on others.

    python -m benchmarks.thresholds RUN --annotations people.json

RUN is a published run over labelled images, made with a low --min-score. Each draw chooses the thresholds on some of
the images. The macro F1 at IoU .5 on all others says how good they are: with one score for all classes, with each
class's own, and with own scores that borrow from the mean of all classes.
"""

from __future__ import annotations

import statistics
from pathlib import Path, PurePosixPath

import click
import numpy as np

from detector.common.tables import markdown_table
from detector.data.annotations import CocoDataset, ImageInfo, load_coco
from detector.data.published import PublishedRun, Record
from detector.evaluation.average_precision import ClassResult, evaluate_voc
from detector.evaluation.detections import DetectionSet
from detector.evaluation.thresholds import best_scores
from detector.runtime.geometry.boxes import xywh_to_xyxy
from detector.runtime.postprocess import Detections

_ONE_FOR_ALL = "one score for all classes"
_BORROWED = (0, 10, 30, 100, 300)


def read_run(place: str, truth: CocoDataset) -> dict[int, Detections]:
    """Return the boxes of a run by image id; images and labels are found by their names."""
    ids = {PurePosixPath(image.file_name).name: image.id for image in truth.images}
    named = ((ids.get(PurePosixPath(record.image).name), record) for record in PublishedRun.open(place).records())
    return {number: _detections(record, truth.classes) for number, record in named if number is not None}


def _detections(record: Record, classes: tuple[str, ...]) -> Detections:
    boxes = [box for box in record.boxes if box.label in classes]
    corners = xywh_to_xyxy(np.array([(box.x, box.y, box.width, box.height) for box in boxes], np.float32))
    labels = np.array([classes.index(box.label) for box in boxes], np.int64)
    return Detections(corners, np.array([box.score for box in boxes], np.float64), labels)


def _results(truth: CocoDataset, images: list[ImageInfo], found: DetectionSet) -> tuple[ClassResult, ...]:
    own = {image.id: found[image.id] for image in images if image.id in found}
    return evaluate_voc(CocoDataset(truth.classes, tuple(images)), own, (0.5,)).by_iou[0.5]


def draw(truth: CocoDataset, found: DetectionSet, images: int, seed: int) -> dict[str, float]:
    """Return the macro F1 on the images that were not drawn, for each way to choose."""
    order = np.random.default_rng(seed).permutation(len(truth.images))
    chosen_on, others = ([truth.images[index] for index in part] for part in (order[:images], order[images:]))
    results, judged = _results(truth, chosen_on, found), _results(truth, others, found)

    def macro(scores: dict[str, float]) -> float:
        return statistics.fmean(
            float(result.f1(np.array([scores[result.name]]))[0]) for result in judged if result.truths
        )

    common = best_scores(results).operating
    ways = {_ONE_FOR_ALL: macro(dict.fromkeys(truth.classes, common))}
    for borrowed in _BORROWED:
        ways[f"own scores, {borrowed} objects borrowed"] = macro(best_scores(results, borrowed).by_class)
    return ways


@click.command()
@click.argument("runs", nargs=-1, required=True)
@click.option("--annotations", type=click.Path(path_type=Path), required=True, help="COCO file of the same images.")
@click.option("--images", default=200, show_default=True, help="To choose on; the others measure.")
@click.option("--draws", default=30, show_default=True)
def main(runs: tuple[str, ...], annotations: Path, images: int, draws: int) -> None:
    """Print the mean macro F1 of each way, for each run, with the standard error of its gain over one score."""
    truth = load_coco(annotations)
    columns = []
    for run in runs:
        found = read_run(run, truth)
        trials = [draw(truth, found, images, seed) for seed in range(draws)]
        columns.append({way: [trial[way] for trial in trials] for way in trials[0]})
    rows = []
    for way in columns[0]:
        cells = []
        for column in columns:
            gains = np.subtract(column[way], column[_ONE_FOR_ALL])
            cells.append(f"{np.mean(column[way]):.3f} ({gains.mean():+.3f} ± {gains.std() / len(gains) ** 0.5:.3f})")
        rows.append([way, *cells])
    print(markdown_table(["way", *(PurePosixPath(run).name for run in runs)], rows))


if __name__ == "__main__":
    main()
