"""Which annotations a detector contradicts."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.common.errors import AnnotationError
from detector.data.annotations import CocoDataset, ImageInfo
from detector.evaluation.doubts import Doubt, find_doubts
from detector.runtime.postprocess import Detections
from tests.support.datasets import image_info

CLASSES = ("cat", "dog", "tree")
BOX, FAR = [10, 10, 50, 40], [60, 10, 95, 50]


def detected(*rows: tuple[list[float], int, float]) -> Detections:
    """(box, label, score) in any order."""
    boxes = np.array([box for box, _, _ in rows], np.float32).reshape(-1, 4)
    return Detections(boxes, np.array([s for _, _, s in rows], np.float64), np.array([c for _, c, _ in rows], np.int64))


def doubts(image: ImageInfo, *rows: tuple[list[float], int, float]) -> dict[str, list[Doubt]]:
    found = find_doubts(CocoDataset(CLASSES, (image,)), {image.id: detected(*rows)})
    return {kind: [doubt for doubt in found if doubt.kind == kind] for kind in ("overlooked", "swapped", "misplaced")}


def test_a_sure_detection_without_a_label_is_overlooked() -> None:
    found = doubts(image_info(1, [BOX], 0), (FAR, 2, 0.9), (BOX, 0, 0.95), (FAR, 1, 0.2))
    assert [(own.detection, round(own.suspicion, 6)) for own in found["overlooked"]] == [(0, 0.9), (2, 0.2), (1, 0.0)]
    assert found["overlooked"][0].truth is None


def test_a_part_of_an_object_is_less_suspicious_than_a_box_on_nothing() -> None:
    part, nothing = [12, 12, 24, 24], [70, 40, 82, 52]
    found = doubts(image_info(1, [BOX], 0), (part, 0, 0.8), (nothing, 0, 0.8))["overlooked"]
    assert [own.detection for own in found] == [1, 0] and found[1].suspicion == pytest.approx(0.4)


def test_what_lies_in_a_crowd_or_an_ignored_object_is_not_overlooked() -> None:
    for flags in ({"crowd": True}, {"ignore": True}):
        found = doubts(image_info(1, [BOX], 0, **flags), ([12, 12, 24, 24], 0, 0.9))
        assert found["overlooked"][0].suspicion == 0.0 and not found["swapped"] and not found["misplaced"]


def test_a_better_fitting_class_means_a_swapped_label() -> None:
    found = doubts(image_info(1, [BOX, FAR], [0, 1]), (BOX, 1, 0.9), (FAR, 1, 0.9), (FAR, 0, 0.3))["swapped"]
    assert [(own.truth, own.detection) for own in found] == [(0, 0), (1, 2)]
    assert found[0].suspicion == pytest.approx(0.9) and found[1].suspicion == pytest.approx(0.3 * 0.1)


def test_a_box_with_other_edges_is_misplaced_and_a_neighbour_is_no_evidence() -> None:
    shifted = [10, 10, 90, 40]
    found = doubts(image_info(1, [shifted], 0), (BOX, 0, 0.9))["misplaced"]
    assert found[0].suspicion == pytest.approx(0.9 * 0.5)
    neighbour = [30, 10, 70, 40]
    both = doubts(image_info(1, [BOX, neighbour], 0), (BOX, 0, 0.9))["misplaced"]  # it fits the first one
    assert [(own.truth, own.suspicion) for own in both] == [(0, pytest.approx(0.0))]


def test_nothing_is_in_doubt_without_detections_and_unknown_images_are_refused() -> None:
    truth = CocoDataset(CLASSES, (image_info(1, [BOX]), image_info(2)))
    assert find_doubts(truth, {}) == find_doubts(truth, {1: detected()}) == []
    with pytest.raises(AnnotationError, match="there are detections in image 7"):
        find_doubts(truth, {7: detected((BOX, 0, 0.5))})


_BOXES = st.tuples(*[st.integers(0, 40)] * 2, *[st.integers(1, 40)] * 2).map(
    lambda b: [float(b[0]), float(b[1]), float(b[0] + b[2]), float(b[1] + b[3])]
)


@given(
    st.lists(st.tuples(_BOXES, st.integers(0, 2)), max_size=4),
    st.lists(st.tuples(_BOXES, st.integers(0, 2), st.floats(0, 1)), max_size=5),
)
def test_suspicions_are_shares_and_each_annotation_has_one_doubt_of_a_kind(
    truths: list[tuple[list[float], int]], rows: list[tuple[list[float], int, float]]
) -> None:
    image = image_info(1, [box for box, _ in truths], [label for _, label in truths])
    found = doubts(image, *rows)
    assert len(found["overlooked"]) == len(rows)
    for kind, own in found.items():
        suspicions = [doubt.suspicion for doubt in own]
        assert suspicions == sorted(suspicions, reverse=True) and all(0 <= value <= 1 for value in suspicions)
        if kind != "overlooked":
            assert len({doubt.truth for doubt in own}) == len(own) <= len(truths)
