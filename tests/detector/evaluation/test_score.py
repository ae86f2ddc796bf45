import json
from pathlib import Path

import pytest

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
