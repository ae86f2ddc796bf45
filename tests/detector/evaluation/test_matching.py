import numpy as np
import pytest

from detector.data.annotations import CocoDataset
from detector.evaluation import matching
from detector.evaluation.detections import DetectionSet
from detector.evaluation.matching import (
    FALSE_POSITIVE,
    IGNORED,
    TRUE_POSITIVE,
    ClassOverlaps,
    class_overlaps,
    outcomes,
)

TP, FP, NEITHER = TRUE_POSITIVE, FALSE_POSITIVE, IGNORED
BOX = (0, 0, 100, 50)


def overlaps_of(truth: CocoDataset, detections: DetectionSet, label: int) -> ClassOverlaps:
    return list(class_overlaps(truth, detections))[label]


def outcome(make, truths, found, threshold: float = 0.5) -> list[int]:
    overlaps = overlaps_of(make.dataset(make.image(1, truths)), {1: make.found(found)}, 0)
    return outcomes(overlaps, threshold).tolist()


def test_the_first_on_a_truth_is_right_and_the_rest_are_not(make) -> None:
    found = [(0.7, 0, *BOX), (0.9, 0, 0, 0, 100, 45), (0.8, 0, *BOX)]
    assert outcome(make, [(0, *BOX)], found) == [TP, FP, FP]


def test_a_detection_goes_to_the_truth_it_overlaps_most_and_no_other(make) -> None:
    truths = [(0, *BOX), (0, 20, 0, 120, 50)]
    # The second overlaps the first truth most (IoU .9) although the other (IoU .5 and more) is still free.
    found = [(0.9, 0, *BOX), (0.8, 0, 5, 0, 100, 50)]
    assert outcome(make, truths, found) == [TP, FP]


def test_a_difficult_truth_takes_any_number_of_detections(make) -> None:
    found = [(0.9, 0, *BOX), (0.8, 0, *BOX), (0.7, 0, 200, 100, 250, 150)]
    assert outcome(make, [(0, *BOX, "ignore")], found) == [NEITHER, NEITHER, FP]


def test_a_difficult_truth_draws_a_detection_away_from_a_lesser_overlap(make) -> None:
    truths = [(0, *BOX), (0, 20, 0, 120, 50, "ignore")]
    assert outcome(make, truths, [(0.9, 0, 15, 0, 115, 50)]) == [NEITHER]


@pytest.mark.parametrize(
    ("right", "threshold", "expected"), [(50, 0.5, TP), (49, 0.5, FP), (70, 0.7, TP), (90, 0.9, TP), (89, 0.9, FP)]
)
def test_an_overlap_of_exactly_the_threshold_counts(make, right: int, threshold: float, expected: int) -> None:
    assert outcome(make, [(0, *BOX)], [(0.9, 0, 0, 0, right, 50)], threshold) == [expected]


def test_other_classes_and_other_images_do_not_matter(make) -> None:
    truth = make.dataset(make.image(1, [(1, *BOX)]), make.image(2, [(0, *BOX)]))
    overlaps = overlaps_of(truth, {1: make.found([(0.9, 0, *BOX), (0.8, 1, *BOX)])}, 0)
    assert outcomes(overlaps, 0.5).tolist() == [FP]
    assert overlaps.positives == 1


def test_equal_scores_keep_the_order_of_images_and_detections(make) -> None:
    truth = make.dataset(make.image(1, [(0, *BOX)]), make.image(2, []))
    found = {2: make.found([(0.5, 0, *BOX)]), 1: make.found([(0.5, 0, 0, 0, 9, 9), (0.5, 0, *BOX)])}
    assert outcomes(overlaps_of(truth, found, 0), 0.5).tolist() == [FP, TP, FP]


def test_a_crowd_forgives_what_lies_in_it_by_the_detections_own_area(make) -> None:
    truths = [(0, 0, 0, 300, 100, "crowd"), (0, *BOX)]
    found = [
        (0.9, 0, *BOX),  # the single object comes first
        (0.8, 0, *BOX),  # its duplicate lies in the crowd
        (0.7, 0, 200, 0, 240, 40),  # inside, though its IoU with the crowd is tiny
        (0.6, 0, 200, 60, 240, 140),  # half inside
        (0.5, 0, 200, 61, 240, 141),  # less
    ]
    assert outcome(make, truths, found) == [TP, NEITHER, NEITHER, NEITHER, FP]


def test_nothing_found_and_nothing_to_find(make) -> None:
    truth = make.dataset(make.image(1, [(0, *BOX)]))
    nothing = overlaps_of(truth, {}, 0)
    assert outcomes(nothing, 0.5).shape == (0,) and nothing.positives == 1
    none = overlaps_of(make.dataset(make.image(1, [])), {1: make.found([(0.9, 0, *BOX)])}, 0)
    assert outcomes(none, 0.5).tolist() == [FP] and none.positives == 0
    assert outcomes(overlaps_of(make.dataset(), {}, 0), 0.5).shape == (0,)


def transcribed(truth, detections, label: int, threshold: float) -> list[int]:
    """VOCevaldet.m, line by line, in its own 1-based inclusive pixels."""
    rows = (
        [
            (image.id, score, box)
            for image in truth.images
            for box, score, other in zip(
                *(getattr(detections[image.id], name) for name in ("boxes", "scores", "labels")), strict=True
            )
            if other == label
        ]
        if detections
        else []
    )
    rows.sort(key=lambda row: -row[1])
    taken: set[tuple[int, int]] = set()
    images = {image.id: image for image in truth.images}
    result = []
    for image_id, _, box in rows:
        image = images[image_id]
        bb = np.array([box[0] + 1, box[1] + 1, box[2], box[3]], np.float64)
        ovmax, jmax = -np.inf, -1
        for j in np.flatnonzero(image.labels == label):
            x1, y1, x2, y2 = image.boxes[j].astype(np.float64)
            gt = np.array([x1 + 1, y1 + 1, x2, y2])
            bi = [max(bb[0], gt[0]), max(bb[1], gt[1]), min(bb[2], gt[2]), min(bb[3], gt[3])]
            iw, ih = bi[2] - bi[0] + 1, bi[3] - bi[1] + 1
            if iw > 0 and ih > 0:
                ua = (bb[2] - bb[0] + 1) * (bb[3] - bb[1] + 1) + (gt[2] - gt[0] + 1) * (gt[3] - gt[1] + 1) - iw * ih
                if iw * ih / ua > ovmax:
                    ovmax, jmax = iw * ih / ua, int(j)
        if ovmax >= threshold:
            if image.ignore[jmax]:
                result.append(NEITHER)
            elif (image_id, jmax) not in taken:
                taken.add((image_id, jmax))
                result.append(TP)
            else:
                result.append(FP)
        else:
            result.append(FP)
    return result


@pytest.mark.parametrize("pairs", [3, 1_000_000])
@pytest.mark.parametrize("seed", range(20))
def test_it_is_the_devkits_own_loop(make, seed: int, pairs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(matching, "_PAIRS_AT_ONCE", pairs)
    truth, detections = make.random(seed)
    full = {image.id: detections.get(image.id, make.found([])) for image in truth.images}
    for label in range(len(truth.classes)):
        overlaps = overlaps_of(truth, detections, label)
        for threshold in (0.3, 0.5, 0.7, 0.9):
            assert outcomes(overlaps, threshold).tolist() == transcribed(truth, full, label, threshold)
