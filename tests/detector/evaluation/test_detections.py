import json
from pathlib import Path

import numpy as np
import pytest

from detector.common.errors import AnnotationError
from detector.data.annotations import CocoDataset
from detector.evaluation.detections import check_detections, load_results, no_detections, save_results


def test_results_survive_the_trip_with_the_truths_category_ids(make, tmp_path: Path) -> None:
    truth, detections = make.random(0)
    truth = CocoDataset(truth.classes, truth.images, (7, 8, 90))
    path = tmp_path / "r.json"
    save_results(detections, truth, path)
    assert {row["category_id"] for row in json.loads(path.read_text())} <= {7, 8, 90}
    found = load_results(path, truth)
    assert found.keys() == detections.keys()
    for image_id, expected in detections.items():
        np.testing.assert_array_equal(found[image_id].boxes, expected.boxes)
        np.testing.assert_array_equal(found[image_id].scores, expected.scores)
        np.testing.assert_array_equal(found[image_id].labels, expected.labels)
        assert found[image_id].boxes.dtype == np.float32


def test_nothing_found_is_an_empty_array(make, tmp_path: Path) -> None:
    truth = make.dataset(make.image(1, []))
    save_results({1: no_detections()}, truth, tmp_path / "r.json")
    assert (tmp_path / "r.json").read_text() == "[]\n"
    assert load_results(tmp_path / "r.json", truth) == {}
    check_detections(truth, {1: no_detections()})


GOOD = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "score": 0.5}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is not JSON"),
        ("{}", "the document: Input should be a valid array"),
        (json.dumps([GOOD, 3]), "[1]: Input should be"),
        (json.dumps([GOOD | {"bbox": [1, 2, 3]}]), "[0].bbox[3]: Field required"),
        (json.dumps([GOOD | {"bbox": None}]), "[0].bbox: Input should be a valid array"),
        (json.dumps([GOOD | {"bbox": "1234"}]), "[0].bbox: Input should be a valid array"),
        (json.dumps([GOOD | {"score": "0.5"}]), "[0].score: Input should be a valid number"),
        (json.dumps([{k: v for k, v in GOOD.items() if k != "score"}]), "[0].score: Field required"),
        (json.dumps([GOOD | {"score": float("nan")}]), "[0].score: Input should be a finite number"),
        (json.dumps([GOOD | {"bbox": [1, 2, -3, 4]}]), "[0].bbox[2]: Input should be greater than or equal to 0"),
        (json.dumps([GOOD | {"image_id": 2}]), "image 2, which the ground truth does not list"),
        (json.dumps([GOOD | {"image_id": [1]}]), "[0].image_id: Input should be a valid integer"),
        (json.dumps([GOOD | {"category_id": 3}]), "category 3, which the ground truth does not list"),
        (json.dumps([GOOD | {"category_id": {}}]), "[0].category_id: Input should be a valid integer"),
    ],
)
def test_bad_results_are_refused_naming_file_and_entry(make, tmp_path: Path, content: str, reason: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(AnnotationError) as caught:
        load_results(path, make.dataset(make.image(1, [])))
    assert str(path) in str(caught.value)
    assert reason in str(caught.value)


def test_a_missing_file_is_refused(make, tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match="no such file"):
        load_results(tmp_path / "none.json", make.dataset())
