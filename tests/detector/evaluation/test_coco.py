import contextlib
import dataclasses
import io
import math

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detector.common.errors import AnnotationError
from detector.evaluation.coco import evaluate_coco


class ReferenceEval(COCOeval):
    """pycocotools with `ignore` kept, by its own private flag."""

    def _prepare(self) -> None:
        super()._prepare()
        for truths in self._gts.values():
            for truth in truths:
                truth["ignore"] = truth["wanted"]


def reference(truth, detections) -> list[float]:
    def entry(number, image_id, label, box) -> dict:
        x1, y1, x2, y2 = map(float, box)
        size = {"bbox": [x1, y1, x2 - x1, y2 - y1], "area": (x2 - x1) * (y2 - y1)}
        return {"id": number, "image_id": image_id, "category_id": int(label) + 1, **size}

    annotations, results = [], []
    for image in truth.images:
        for box, label, ignore, crowd in zip(image.boxes, image.labels, image.ignore, image.crowd, strict=True):
            annotations.append(
                entry(len(annotations) + 1, image.id, label, box)
                | {"iscrowd": int(crowd), "wanted": int(ignore or crowd)}
            )
    for image_id, found in sorted(detections.items()):
        for box, score, label in zip(found.boxes, found.scores, found.labels, strict=True):
            results.append(entry(len(results) + 1, image_id, label, box) | {"score": float(score), "iscrowd": 0})
    shared = {
        "images": [{"id": image.id, "width": image.width, "height": image.height} for image in truth.images],
        "categories": [{"id": i + 1, "name": name} for i, name in enumerate(truth.classes)],
    }
    with contextlib.redirect_stdout(io.StringIO()):
        tables = []
        for rows in (annotations, results):
            table = COCO()
            table.dataset = shared | {"annotations": rows}
            table.createIndex()
            tables.append(table)
        evaluator = ReferenceEval(*tables, "bbox")
        evaluator.evaluate()
        evaluator.accumulate()
        evaluator.summarize()
    return [float(v) if v >= 0 else math.nan for v in (*evaluator.stats[:6], evaluator.stats[8])]


@pytest.mark.parametrize("crowds", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_it_agrees_with_pycocotools(make, seed: int, crowds: bool) -> None:
    truth, detections = make.random(seed, crowds=crowds)
    found = dataclasses.astuple(evaluate_coco(truth, detections))
    np.testing.assert_allclose(found, reference(truth, detections), atol=1e-9)
    assert 0 < found[0] < 1


BOX, OTHER = (0, 0, 100, 50), (150, 0, 250, 50)


def test_an_ignored_truth_is_neither_missed_nor_wrong(make) -> None:
    truth = make.dataset(make.image(1, [(0, *BOX), (0, *OTHER, "ignore")]))
    assert evaluate_coco(truth, {1: make.found([(0.5, 0, *BOX)])}).ap == pytest.approx(1)
    both = make.found([(0.9, 0, *OTHER), (0.5, 0, *BOX)])
    result = evaluate_coco(truth, {1: both})
    assert result.ap == pytest.approx(1) and result.ar_100 == pytest.approx(1)
    counted = make.dataset(make.image(1, [(0, *BOX), (0, *OTHER)]))
    assert evaluate_coco(counted, {1: make.found([(0.5, 0, *BOX)])}).ar_100 == pytest.approx(0.5)


def test_no_detections_are_zeros_where_there_are_truths(make) -> None:
    result = evaluate_coco(make.dataset(make.image(1, [(0, *BOX)]), make.image(2, [])), {})
    assert (result.ap, result.ap_50, result.ap_75, result.ap_medium, result.ar_100) == (0, 0, 0, 0, 0)
    assert math.isnan(result.ap_small) and math.isnan(result.ap_large)


def test_no_truths_are_nan(make) -> None:
    result = evaluate_coco(make.dataset(make.image(1, [])), {1: make.found([(0.9, 0, *BOX)])})
    assert all(math.isnan(value) for value in dataclasses.astuple(result))


def test_sizes_go_to_their_own_figures(make) -> None:
    truth = make.dataset(make.image(1, [(0, 0, 0, 20, 20), (0, 50, 50, 150, 200)]))
    result = evaluate_coco(truth, {1: make.found([(0.9, 0, 0, 0, 20, 20)])})
    assert result.ap_small == pytest.approx(1) and result.ap_large == 0 and math.isnan(result.ap_medium)


def test_detections_elsewhere_are_refused(make) -> None:
    with pytest.raises(AnnotationError, match="image 2"):
        evaluate_coco(make.dataset(make.image(1, [])), {2: make.found([])})
