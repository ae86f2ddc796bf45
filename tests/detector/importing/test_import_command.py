from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from onnx import helper, numpy_helper
from PIL import Image

from detector.cli import main
from detector.data.generated import GENERATED_CLASSES
from detector.importing import command
from detector.runtime.artifact import load_artifact
from tests.support.artifacts import make_artifact
from tests.support.datasets import write_scenes
from tests.support.onnx_files import onnx_model, write_onnx

Import = Callable[..., Result]


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A YOLOX graph that finds one dog in every image: 16 x 16 pixels around (20, 20) of 64 x 64."""
    rows = np.zeros((1, 84, 8), np.float32)
    rows[0, 0] = [2.5, 2.5, np.log(2), np.log(2), 1, 0, 0.9, 0]
    (tmp_path / "in").mkdir()
    return write_onnx(tmp_path / "in/dogs.onnx", {"output": rows})


@pytest.fixture
def names(tmp_path: Path) -> Path:
    path = tmp_path / "names.txt"
    path.write_text("cat\ndog\ntree\n")
    return path


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    Image.new("RGB", (128, 96), "white").save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


def test_the_check_is_drawn_beside_the_artifact(
    imported: Import, model: Path, names: Path, photo: Path, tmp_path: Path
) -> None:
    done = imported(model, "--classes", names, "--check", photo)
    assert done.exit_code == 0 and "drew 1 box with a score of 0.25 or more: look at " in done.output, done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["model.json", "model.onnx"]
    drawn = np.asarray(Image.open(tmp_path / "out.check.png"))
    assert drawn.shape == (96, 128, 3) and (drawn != 255).any(axis=2)[24:57, 24:57].any()
    assert load_artifact(tmp_path / "out").name == "dogs"


def test_a_photo_that_cannot_be_read_is_named_and_nothing_is_written(
    imported: Import, model: Path, names: Path, tmp_path: Path
) -> None:
    (tmp_path / "photo.jpg").write_bytes(b"no image")
    done = imported(model, "--classes", names, "--check", tmp_path / "photo.jpg")
    assert done.exit_code == 2 and "photo.jpg: " in done.output and not (tmp_path / "out").exists()


def test_the_check_never_replaces_its_photo(imported: Import, model: Path, names: Path, photo: Path) -> None:
    mine = photo.rename(photo.with_name("out.check.png"))
    before = mine.read_bytes()
    done = imported(model, "--classes", names, "--check", mine)
    assert done.exit_code == 2 and "would be replaced by its own drawing" in done.output
    assert mine.read_bytes() == before


def test_only_an_artifact_is_replaced(imported: Import, model: Path, names: Path, tmp_path: Path) -> None:
    make_artifact(tmp_path / "out")
    assert imported(model, "--classes", names).exit_code == 0
    assert load_artifact(tmp_path / "out").name == "dogs"
    (tmp_path / "out/notes.txt").write_text("mine")
    done = imported(model, "--classes", names)
    assert done.exit_code == 2 and "exists and is not an artifact alone" in done.output
    assert (tmp_path / "out/notes.txt").read_text() == "mine"
    for folder, files in {"graph": ["model.onnx"], "others": ["model.onnx", "model.json"]}.items():
        (tmp_path / folder).mkdir()
        for file in files:  # what other tools name so is no artifact
            (tmp_path / folder / file).write_text("{}")
        assert imported(model, "--classes", names, out=folder).exit_code == 2
        assert sorted(path.name for path in (tmp_path / folder).iterdir()) == sorted(files)
    (tmp_path / "empty").mkdir()
    assert imported(model, "--classes", names, out="empty").exit_code == 0
    (tmp_path / "link").symlink_to(tmp_path / "in")
    assert imported(model, "--classes", names, out="link").exit_code == 2 and model.is_file()


def test_the_model_itself_is_never_replaced(imported: Import, model: Path, names: Path, tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    inside = model.rename(tmp_path / "out/model.onnx")
    before = inside.read_bytes()
    done = imported(inside, "--classes", names)
    assert done.exit_code == 2 and "choose another --out" in done.output and inside.read_bytes() == before
    own = make_artifact(tmp_path / "artifact")  # an artifact may be replaced, but not by a graph that is in it
    done = imported(own / "model.onnx", "--classes", names, out="artifact")
    assert done.exit_code == 2 and "model.onnx lies in" in done.output and load_artifact(own).backbone == "tiny"


def test_a_stopped_import_leaves_the_artifact_that_was_there(
    imported: Import, model: Path, names: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*words: object) -> None:
        raise KeyboardInterrupt

    imported(model, "--classes", names)
    before = load_artifact(tmp_path / "out")
    with monkeypatch.context() as patch:
        patch.setattr(command, "open_detector", stopped)
        imported(model, "--classes", names, "--name", "other")
    assert load_artifact(tmp_path / "out") == before
    imported(model, "--classes", names, "--name", "other")
    assert load_artifact(tmp_path / "out").name == "other" and not (tmp_path / "out.new").exists()


def test_two_imports_are_equal(imported: Import, model: Path, names: Path, tmp_path: Path) -> None:
    for out in ("one", "two"):
        assert imported(model, "--classes", names, out=out).exit_code == 0
    for file in ("model.json", "model.onnx"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_options_that_belong_together(imported: Import, model: Path, names: Path, photo: Path) -> None:
    done = imported(model, "--classes", names, "--images", photo.parent)
    assert done.exit_code == 2 and "belong together" in done.output
    done = imported(model, "--classes", names, "--annotations", photo)
    assert done.exit_code == 2 and "belong together" in done.output


def test_the_card_of_an_imported_artifact_says_that_it_is_not_measured(
    imported: Import, model: Path, names: Path, tmp_path: Path
) -> None:
    assert imported(model, "--classes", names).exit_code == 0
    card = CliRunner().invoke(main, ["card", str(tmp_path / "out")])
    assert card.exit_code == 0, card.output
    assert "not measured" in card.output and "| kind | `yolox` |" in card.output and "`None`" not in card.output
    assert "0.250, assumed" in card.output and "test images" not in card.output and "| dog |" in card.output


def test_a_missing_package_names_the_extra(model: Path, names: Path, tmp_path: Path) -> None:
    code = "import sys; sys.modules['onnx'] = None; from detector.cli import main; main()"
    words = ["import", str(model), "--out", str(tmp_path / "out"), "--classes", str(names)]
    done = subprocess.run([sys.executable, "-c", code, *words], capture_output=True, text=True)
    assert done.returncode == 2 and "'boxcar[import]'" in done.stderr


SCENES, CLASSES = 24, len(GENERATED_CLASSES)


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Annotated scenes."""
    return write_scenes(tmp_path_factory.mktemp("data") / "scenes", {"val": SCENES})


@pytest.fixture
def finder(tmp_path: Path, scenes: Path) -> Path:
    """A graph that gives one box, which covers the whole input, for each class, with scores that grow with the image's
    brightness: enough to be right sometimes."""
    rows = np.zeros((1, 84, 5 + CLASSES), np.float32)
    rows[0, :CLASSES, :4] = [4, 4, np.log(6), np.log(6)]
    rows[0, :CLASSES, 0] -= np.arange(CLASSES)  # from each cell to the middle of the image
    rows[0, :CLASSES, 4] = 1
    slope = np.zeros_like(rows)
    slope[0, :CLASSES, 5:] = np.eye(CLASSES)
    model = onnx_model({"rows": rows})
    nodes = [
        helper.make_node("Constant", [], ["slope"], value=numpy_helper.from_array(slope, "s")),
        helper.make_node("Constant", [], ["scale"], value=numpy_helper.from_array(np.float32(1 / 255), "c")),
        helper.make_node("ReduceMean", ["images"], ["bright"], keepdims=0),
        helper.make_node("Mul", ["bright", "scale"], ["level"]),
        helper.make_node("Mul", ["slope", "level"], ["added"]),
        helper.make_node("Add", ["rows", "added"], ["output"]),
    ]
    model.graph.node.extend(nodes)
    model.graph.output[0].name = "output"
    (tmp_path / "finder.onnx").write_bytes(model.SerializeToString())
    return tmp_path / "finder.onnx"


def scene_names(tmp_path: Path, scenes: Path) -> Path:
    path = tmp_path / "scenes.txt"
    categories = json.loads((scenes / "val.json").read_text())["categories"]
    path.write_text("\n".join(row["name"] for row in reversed(categories)))  # in another order
    return path


def test_an_annotated_set_measures_one_half_and_calibrates_on_the_other(
    imported: Import, finder: Path, scenes: Path, tmp_path: Path
) -> None:
    options = ("--classes", scene_names(tmp_path, scenes), "--annotations", scenes / "val.json")
    done = imported(finder, *options, "--images", scenes / "images")
    assert done.exit_code == 0, done.output
    artifact = load_artifact(tmp_path / "out")
    assert artifact.baseline is not None and 0 < artifact.baseline.images < SCENES
    assert f"calibrated on {SCENES - artifact.baseline.images} images and measured on the other" in done.output
    assert artifact.classes == tuple((tmp_path / "scenes.txt").read_text().split("\n"))
    assert {"map_50_11point", "calibration_error", "coco_ap"} <= set(artifact.metrics)
    assert set(artifact.class_scores) == set(artifact.classes)
    assert sum(map(sum, artifact.baseline.boxes.values())) == CLASSES * artifact.baseline.images
    assert "not measured" not in done.output and "assumed operating_score" not in done.output
    assert (tmp_path / "out.check.png").is_file()
    card = CliRunner().invoke(main, ["card", str(tmp_path / "out")])
    assert f"on {artifact.baseline.images} test images" in card.output and "best mean F1 on val" in card.output
    assert "test is one half of the images of an annotated set" in card.output


def test_a_score_is_given_or_measured(imported: Import, finder: Path, scenes: Path, tmp_path: Path) -> None:
    options = ("--classes", scene_names(tmp_path, scenes), "--annotations", scenes / "val.json")
    done = imported(finder, *options, "--images", scenes / "images", "--set", "operating_score=0.5")
    assert done.exit_code == 2 and "leave out --set operating_score" in done.output


def test_the_halves_do_not_depend_on_names_or_order(
    imported: Import, finder: Path, scenes: Path, tmp_path: Path
) -> None:
    """Renamed files and another order give the same two halves, so that an image is never on both sides."""
    other = tmp_path / "other"
    shutil.copytree(scenes, other)
    content = json.loads((other / "val.json").read_text())
    for row in content["images"]:
        new = f"renamed-{99 - row['id']}.png"
        (other / "images" / row["file_name"]).rename(other / "images" / new)
        row["file_name"], row["id"] = new, 99 - row["id"]
    for row in content["annotations"]:
        row["image_id"] = 99 - row["image_id"]
    (other / "val.json").write_text(json.dumps(content))
    names = scene_names(tmp_path, scenes)
    made = []
    for folder in (scenes, other):
        done = imported(finder, "--classes", names, "--annotations", folder / "val.json", "--images", folder / "images")
        assert done.exit_code == 0, done.output
        made.append(load_artifact(tmp_path / "out"))
    assert made[0].baseline == made[1].baseline and made[0].calibration == made[1].calibration


def test_a_class_without_annotations_is_refused_and_a_further_category_is_left_out(
    imported: Import, finder: Path, scenes: Path, tmp_path: Path
) -> None:
    names = scene_names(tmp_path, scenes)
    *others, last = names.read_text().split("\n")
    data = ("--annotations", scenes / "val.json", "--images", scenes / "images")
    names.write_text("\n".join([*others, "zebra"]))
    done = imported(finder, "--classes", names, *data)
    assert done.exit_code == 2 and "has no category 'zebra'" in done.output and "--rename" in done.output
    assert not (tmp_path / "out").exists()
    (tmp_path / "map.json").write_text(json.dumps(dict(zip(others, others, strict=True))))
    done = imported(finder, "--classes", names, "--rename", tmp_path / "map.json", *data)
    assert done.exit_code == 0, done.output
    assert (
        "of classes that the detector does not have" in done.output
        and last not in load_artifact(tmp_path / "out").classes
    )


def test_a_set_that_is_too_small_to_be_halved_is_refused(
    imported: Import, finder: Path, scenes: Path, tmp_path: Path
) -> None:
    content = json.loads((scenes / "val.json").read_text())
    content["images"] = content["images"][:1]
    content["annotations"] = [row for row in content["annotations"] if row["image_id"] == content["images"][0]["id"]]
    (tmp_path / "one.json").write_text(json.dumps(content))
    names = scene_names(tmp_path, scenes)
    done = imported(finder, "--classes", names, "--annotations", tmp_path / "one.json", "--images", scenes / "images")
    assert done.exit_code == 2 and "half of its images: no image has a box" in done.output
    assert not (tmp_path / "out").exists()


def test_unreadable_annotations_are_named(imported: Import, finder: Path, scenes: Path, tmp_path: Path) -> None:
    names = scene_names(tmp_path, scenes)
    (tmp_path / "broken.json").write_text("{")
    done = imported(finder, "--classes", names, "--annotations", tmp_path / "broken.json", "--images", scenes)
    assert done.exit_code == 2 and "broken.json: is not JSON" in done.output and not (tmp_path / "out").exists()
    done = imported(finder, "--classes", names, "--annotations", scenes / "val.json", "--images", tmp_path / "none")
    assert done.exit_code == 2 and "no such folder of images" in done.output


def test_nothing_is_replaced_but_the_artifact(imported: Import, model: Path, names: Path, tmp_path: Path) -> None:
    """Folders beside it stay, and so does an earlier artifact until the new one is complete."""
    diary = tmp_path / "out.new/diary.txt"
    diary.parent.mkdir()
    diary.write_text("mine")
    for _ in range(2):
        assert imported(model, "--classes", names).exit_code == 0
    assert diary.read_text() == "mine"
    assert not [path for path in tmp_path.iterdir() if path.name.startswith(".out")]
    assert (tmp_path / "out").stat().st_mode & 0o777 == diary.parent.stat().st_mode & 0o777


def test_labels_that_begin_at_zero_are_not_shifted(imported: Import, names: Path, tmp_path: Path) -> None:
    found = {
        "boxes": np.array([[1, 2, 20, 30], [4, 4, 30, 30]], np.float32),
        "labels": np.array([0, 2]),
        "scores": np.array([0.9, 0.8], np.float32),
    }
    model = write_onnx(tmp_path / "zero.onnx", found)
    done = imported(model, "--classes", names)
    assert done.exit_code == 2 and "add --set decoding.first_label=0" in done.output
    done = imported(model, "--classes", names, "--set", "decoding.first_label=0")
    assert done.exit_code == 0, done.output
    assert load_artifact(tmp_path / "out").decoding.model_dump()["first_label"] == 0


def test_text_of_the_file_cannot_forge_lines(imported: Import, names: Path, tmp_path: Path) -> None:
    rows = np.zeros((1, 84, 8), np.float32)
    model = write_onnx(tmp_path / "evil.onnx", {"out\nrecognised \x1b[31mtrust": rows})
    done = imported(model, "--classes", names)
    assert "\x1b" not in done.output and not any(
        line.startswith("recognised \\x1b") for line in done.output.splitlines()
    )
