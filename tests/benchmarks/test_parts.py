"""`benchmarks.parts`: boxes, classes, and what is refused."""

from __future__ import annotations

import tarfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks.parts import PARTS, main
from detector.data.annotations import load_coco
from tests.support.parts import write_parts


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(main, [str(word) for word in words])
    return done.exit_code, done.output


@pytest.mark.parametrize("above", ["VOC2007/", "./VOCdevkit/VOC2007/", ""])
def test_boxes_are_half_open_and_inside_the_photograph(tmp_path: Path, above: str) -> None:
    for name in ("1", "2", "3"):
        write_parts(tmp_path / name, name, above)
    out = tmp_path / "out"
    code, printed = run(tmp_path / "1", tmp_path / "2", "--test", tmp_path / "3", "--val-images", 1, "--out", out)
    assert code == 0 and "test: 1 images, 1 of head, 1 of hand, 0 of foot" in printed
    truth = load_coco(out / "test.json")
    (image,) = truth.images
    assert truth.classes == PARTS and (image.width, image.height) == (64, 48)
    assert np.array_equal(image.boxes, [[0, 0, 9, 10], [59, 39, 64, 48]])
    assert [truth.classes[label] for label in image.labels] == ["head", "hand"]
    names = {name: [image.file_name for image in load_coco(out / f"{name}.json").images] for name in ("train", "val")}
    assert sorted(names["train"] + names["val"]) == ["1a.jpg", "2a.jpg"] and len(names["val"]) == 1
    assert {path.name for path in (out / "images").iterdir()} == {"1a.jpg", "2a.jpg", "3a.jpg"}


def test_what_is_no_archive_with_parts_is_refused(tmp_path: Path) -> None:
    write_parts(tmp_path / "good", "1")
    (tmp_path / "text").write_text("text")
    words = ("--test", tmp_path / "good", "--out", tmp_path / "out")
    assert run(tmp_path / "text", *words)[0] == 2
    assert "text: is no archive of VOC" in run(tmp_path / "text", *words)[1]
    with tarfile.open(tmp_path / "empty", "w"):
        pass
    assert "empty: no annotation in it has a <part>" in run(tmp_path / "empty", *words)[1]
    assert "name each archive once" in run(tmp_path / "good", tmp_path / "good", *words)[1]
    assert "leaves none of 1 photographs to train" in run(tmp_path / "good", *words)[1]
