import math

import numpy as np
import pytest

from detector.common.errors import AnnotationError
from detector.data.annotations import CocoDataset, ImageInfo
from detector.evaluation.localisation import localisation_accuracy
from detector.runtime.postprocess import Detections
from tests.support.datasets import image_info


def image(number: int, *rows: tuple[list[float], int, bool]) -> ImageInfo:
    """rows: a box, its label, whether it is ignored."""
    boxes, labels, ignore = ([row[place] for row in rows] for place in range(3))
    return image_info(number, boxes, labels, ignore=ignore)


LARGE, SMALL, HUGE = [0.0, 0, 40, 30], [60.0, 10, 70, 20], [0.0, 0, 100, 60]


@pytest.fixture
def truth() -> CocoDataset:
    return CocoDataset(
        ("cat", "dog"),
        (image(1, (SMALL, 0, False), (LARGE, 1, False), (HUGE, 0, True)), image(2, (SMALL, 0, False)), image(3)),
    )


def found(*rows: tuple[list[float], float, int]) -> Detections:
    boxes, scores, labels = zip(*rows, strict=True)
    return Detections(np.array(boxes, np.float32), np.array(scores), np.array(labels))


def test_the_best_detection_must_be_the_largest_object(truth: CocoDataset) -> None:
    right = found((SMALL, 0.8, 0), (LARGE, 0.9, 1))
    assert localisation_accuracy(truth, {1: right, 2: found((SMALL, 0.2, 0))}) == 1.0
    for wrong in (
        found((SMALL, 0.95, 0), (LARGE, 0.9, 1)),  # another object is surer
        found((LARGE, 0.9, 0)),  # another class
        found(([0, 0, 40, 14], 0.9, 1)),  # IoU below a half
        found((HUGE, 0.9, 0)),  # ignored
    ):
        assert localisation_accuracy(truth, {1: wrong, 2: found((SMALL, 0.2, 0))}) == 0.5


def test_an_iou_of_exactly_a_half_counts(truth: CocoDataset) -> None:
    assert localisation_accuracy(truth, {1: found(([0, 0, 40, 15], 0.9, 1))}) == 0.5


def test_images_without_objects_do_not_count_and_those_without_detections_do(truth: CocoDataset) -> None:
    assert localisation_accuracy(truth, {3: found((LARGE, 0.9, 1))}) == 0.0
    assert localisation_accuracy(truth, {}) == 0.0
    assert math.isnan(localisation_accuracy(CocoDataset(("cat",), (image(3),)), {}))


def test_unknown_images_are_an_error(truth: CocoDataset) -> None:
    with pytest.raises(AnnotationError, match="image 9"):
        localisation_accuracy(truth, {9: found((LARGE, 0.9, 1))})
