import contextlib
import io
import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from detector.common.errors import AnnotationError
from detector.evaluation.score import score_table


def files(folder: Path) -> tuple[Path, Path]:
    """Two dogs, one found at IoU .8 after a wrong one; a difficult cat, found; no cow, one claimed."""
    truth = {
        "categories": [{"id": 18, "name": "dog"}, {"id": 17, "name": "cat"}, {"id": 21, "name": "cow"}],
        "images": [{"id": 139, "file_name": "a.jpg", "width": 300, "height": 200}],
        "annotations": [
            {"id": 1, "image_id": 139, "category_id": 18, "bbox": [0, 0, 100, 50]},
            {"id": 2, "image_id": 139, "category_id": 18, "bbox": [0, 100, 100, 50]},
            {"id": 3, "image_id": 139, "category_id": 17, "bbox": [150, 0, 50, 50], "ignore": 1},
            {"id": 4, "image_id": 139, "category_id": 17, "bbox": [220, 0, 50, 50]},
            {"id": 5, "image_id": 139, "category_id": 17, "bbox": [150, 100, 150, 100], "iscrowd": 1},
        ],
    }
    results = [
        {"image_id": 139, "category_id": 18, "bbox": [150, 100, 50, 50], "score": 0.9},
        {"image_id": 139, "category_id": 18, "bbox": [0, 0, 80, 50], "score": 0.8},
        {"image_id": 139, "category_id": 17, "bbox": [150, 0, 50, 50], "score": 0.7},
        {"image_id": 139, "category_id": 17, "bbox": [160, 110, 50, 50], "score": 0.6},
        {"image_id": 139, "category_id": 17, "bbox": [220, 0, 50, 50], "score": 0.5},
        {"image_id": 139, "category_id": 21, "bbox": [220, 0, 50, 50], "score": 0.5},
    ]
    (folder / "t.json").write_text(json.dumps(truth))
    (folder / "d.json").write_text(json.dumps(results))
    return folder / "t.json", folder / "d.json"


def test_the_table_as_printed(tmp_path: Path) -> None:
    # Dogs at .5: recall 0 then .5 at precision .5: six of eleven points, half of the area. Cats: perfect.
    assert score_table(*files(tmp_path), (0.5, 0.9)).splitlines() == [
        "class  truths  AP11@0.5  AP@0.5  AP11@0.9  AP@0.9",
        "-------------------------------------------------",
        "cat         1    1.0000  1.0000    1.0000  1.0000",
        "dog         2    0.2727  0.2500    0.0000  0.0000",
        "cow         0         -       -         -       -",
        "-------------------------------------------------",
        "mean        3    0.6364  0.6250    0.5000  0.5000",
    ]


def test_the_wrong_file_is_named(tmp_path: Path) -> None:
    truth, detections = files(tmp_path)
    with pytest.raises(AnnotationError, match=r"d\.json: the document: Input should be an object"):
        score_table(detections, truth)
    with pytest.raises(AnnotationError, match=r"t\.json: the document: Input should be a valid array"):
        score_table(truth, truth)


def test_fractions_are_not_compared_with_pixels(tmp_path: Path) -> None:
    truth, detections = files(tmp_path)
    pixels = {path: json.loads(path.read_text()) for path in (truth, detections)}
    as_pixels = score_table(truth, detections)

    def divided(path: Path) -> None:
        rows = json.loads(path.read_text())
        for row in rows["annotations"] if path == truth else rows:
            row["bbox"] = [value / by for value, by in zip(row["bbox"], (300, 200, 300, 200), strict=True)]
        path.write_text(json.dumps(rows))

    for path, other in ((truth, detections), (detections, truth)):
        divided(path)
        with pytest.raises(AnnotationError, match=rf"^{path}: all boxes are fractions .* those of {other} are not"):
            score_table(truth, detections)
        path.write_text(json.dumps(pixels[path]))
    for path in (truth, detections):
        divided(path)
    assert score_table(truth, detections) == as_pixels


def at_the_threshold(folder: Path, iou: float, seed: int) -> tuple[Path, Path]:
    """400 classes with one truth and one detection each, in decimals of a pixel, whose exact IoU is `iou`."""
    rng = np.random.default_rng(seed)
    truths, found = [], []
    for number in range(1, 401):
        x, y, width, height = (int(value) for value in rng.integers(1, 5000, 4))  # hundredths of a pixel
        width *= 10
        inner = [x, y, round(width * iou), height]  # the same corner, and `iou` of the width
        both = [[value / 100 for value in box] for box in ([x, y, width, height], inner)]
        truth, detection = both if rng.random() < 0.5 else both[::-1]
        entry = {"image_id": 1 + number % 20, "category_id": number}
        truths.append(entry | {"id": number, "bbox": truth, "area": truth[2] * truth[3], "iscrowd": 0})
        found.append(entry | {"bbox": detection, "score": 0.5})
    document = {
        "categories": [{"id": number, "name": f"c{number}"} for number in range(1, 401)],
        "images": [
            {"id": number, "file_name": f"{number}.jpg", "width": 640, "height": 480} for number in range(1, 21)
        ],
        "annotations": truths,
    }
    (folder / "t.json").write_text(json.dumps(document))
    (folder / "d.json").write_text(json.dumps(found))
    return folder / "t.json", folder / "d.json"


@pytest.mark.parametrize("iou", [0.3, 0.5, 0.6, 0.7, 0.75, 0.9])
def test_an_iou_of_exactly_the_threshold_is_that_of_pycocotools(tmp_path: Path, iou: float) -> None:
    files = at_the_threshold(tmp_path, iou, round(iou * 100))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO(str(files[0]))
        evaluator = COCOeval(truth, truth.loadRes(str(files[1])), "bbox")
        evaluator.params.iouThrs = np.array([iou])
        evaluator.params.areaRng, evaluator.params.areaRngLbl = [[0, 1e10]], ["all"]
        evaluator.evaluate()
    matched = {each["category_id"]: each["dtMatches"][0, 0] > 0 for each in evaluator.evalImgs if each}
    table = score_table(*files, (iou,)).splitlines()[2:-2]
    assert {int(line.split()[0][1:]): line.split()[2] == "1.0000" for line in table} == matched
    assert sum(matched.values()) > 100  # rounding puts the others just below


def test_scoring_shows_its_progress(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    score_table(*files(tmp_path))
    printed = capsys.readouterr()
    assert "read: 100%" in printed.err and "score: 100%" in printed.err and "3/3" in printed.err
    assert printed.out == ""
