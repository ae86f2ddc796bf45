"""`detector init DATA`, then `dvc repro`: a user's own data becomes an artifact, outside Boxcar's checkout."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from click import Choice
from PIL import Image

from detector.cli import init as command
from detector.common.errors import AnnotationError, ParamsError, TrainingError, WeightsError
from detector.data.generated import GENERATED_CLASSES, draw_scene
from detector.data.settings import FetchSettings
from detector.data.sources import read_sources
from detector.model.start import begin, weights_of
from detector.params import load_params
from detector.stages.fetch import fetch
from detector.stages.init import STARTS, init, recognise, suggest
from detector.stages.watched import unwatched
from tests.support.published import write_run

MD5 = f"md5:{'0' * 32}"
ROOT = Path(__file__).parents[3]
START = STARTS["voc20"]


def raccoon(root: Path, count: int = 16) -> Path:
    """VOC's XML in annotations/ and images/, with classes of its own and no lists, as in the raccoon data set."""
    for number in range(count):
        scene = draw_scene(7, number)
        height, width = scene.pixels.shape[:2]
        for folder in ("images", "annotations"):
            (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.pixels).save(root / f"images/{number}.jpg")
        things = "".join(
            f"<object><name>{GENERATED_CLASSES[label]}</name><bndbox><xmin>{x1 + 1:.0f}</xmin><ymin>{y1 + 1:.0f}</ymin>"
            f"<xmax>{x2:.0f}</xmax><ymax>{y2:.0f}</ymax></bndbox></object>"
            for (x1, y1, x2, y2), label in zip(scene.boxes, scene.labels, strict=True)
        )
        size = f"<size><width>{width}</width><height>{height}</height></size>"
        (root / f"annotations/{number}.xml").write_text(f"<annotation>{size}{things}</annotation>")
    return root


def yolo(root: Path, count: int = 16) -> Path:
    """Ultralytics's folders with train and val, and no test."""
    for number in range(count):
        scene = draw_scene(7, number)
        height, width = scene.pixels.shape[:2]
        split = "val" if number < 3 else "train"
        for folder in ("images", "labels"):
            (root / folder / split).mkdir(parents=True, exist_ok=True)
        Image.fromarray(scene.pixels).save(root / f"images/{split}/{number}.jpg")
        lines = [
            f"{label} {(x1 + x2) / 2 / width} {(y1 + y2) / 2 / height} {(x2 - x1) / width} {(y2 - y1) / height}"
            for (x1, y1, x2, y2), label in zip(scene.boxes, scene.labels, strict=True)
        ]
        (root / f"labels/{split}/{number}.txt").write_text("\n".join(lines))
    described = {"train": "images/train", "val": "images/val", "names": list(GENERATED_CLASSES)}
    (root / "data.yaml").write_text(yaml.safe_dump(described))
    return root


class Project:
    """A folder outside the checkout, in which commands run as a user types them."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def run(self, *command: str) -> str:
        environment = os.environ | {
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(ROOT),
            "DVC_NO_ANALYTICS": "true",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    def make_small(self) -> None:
        """Make the settings small enough for seconds."""
        path = self.folder / "params.yaml"
        params = yaml.safe_load(path.read_text())
        params["model"] |= {"start_from": "none", "image_size": 64, "pyramid_channels": 8, "hidden": 16}
        params["train"] |= {"epochs": 1, "image_sizes": [64], "precision": "fp32", "device": "cpu"}
        params["detect"] |= {"max_proposals": 50}
        path.write_text(yaml.safe_dump(params))


@pytest.mark.slow
def test_two_commands_lead_from_annotated_photographs_to_an_artifact(tmp_path: Path) -> None:
    raccoon(tmp_path / "photos")
    project = Project(tmp_path)
    printed = project.run("detector", "init", "photos")
    assert "recognised 16 images of photos (format voc), 8 classes: arrow" in printed and "dvc repro" in printed
    project.make_small()
    project.run("dvc", "repro")
    card = json.loads((tmp_path / "models/detector/model.json").read_text())
    assert card["classes"] == list(GENERATED_CLASSES)
    sides = (tmp_path / "splits.csv").read_text().splitlines()
    assert len(sides) == 17 and sides[1].startswith("photos,images/0.jpg,")
    changed = project.run("git", "status", "--porcelain")
    assert {line[3:] for line in changed.splitlines()} == {"params.yaml", "dvc.lock", "splits.csv", "photos/"}
    again = project.run("dvc", "repro", "--dry")
    assert "Running stage 'fetch'" not in again and "Running stage 'train'" not in again

    # A changed label, an edited side, and new code run `fetch` again, without --force.
    for path, old, new in (
        ("photos/annotations/0.xml", "<xmin>", "<xmin> "),
        ("splits.csv", ",train,", ",test,"),
        ("build/computation/fetch", "\n", "0\n"),
    ):
        text = (tmp_path / path).read_text()
        (tmp_path / path).write_text(text.replace(old, new, 1))
    (deps, outs) = json.loads(project.run("dvc", "status", "--json", "fetch"))["fetch"]
    assert deps == {"changed deps": {"build/computation/fetch": "modified", "photos": "modified"}}
    assert outs == {"changed outs": {"splits.csv": "modified"}}


@pytest.mark.slow
def test_a_yolo_folder_elsewhere_is_a_source_too(tmp_path: Path) -> None:
    data = yolo(tmp_path / "data")
    (tmp_path / "project").mkdir()
    project = Project(tmp_path / "project")
    project.run("detector", "init", "../data/data.yaml", "--start", "imagenet")
    params = yaml.safe_load((project.folder / "params.yaml").read_text())
    assert (params["model"]["backbone"], params["model"]["start_from"]) == ("efficientnet_lite0", "imagenet")
    (source,) = params["fetch"]["sources"]
    assert source == {"format": "yolo", "data": str(data / "data.yaml"), "split": {"test": 0.15}}  # val is there
    assert str(data) in yaml.safe_load((project.folder / "dvc.yaml").read_text())["stages"]["fetch"]["deps"]
    project.run("detector", "fetch")
    report = json.loads((project.folder / "build/dataset/report.json").read_text())
    assert report["val"]["images"] == 3 and report["train"]["images"] + report["test"]["images"] == 13
    assert len((project.folder / "splits.csv").read_text().splitlines()) == 14


def test_the_pipeline_is_that_of_the_checkout_but_for_its_dependencies() -> None:
    text = (ROOT / "detector/stages/project/pipeline.yaml").read_text().replace("$data", "").replace("$sides", "")
    own, made = (yaml.safe_load(content) for content in ((ROOT / "dvc.yaml").read_text(), text))
    computation = made["stages"].pop("computation")
    assert made["artifacts"] == own["artifacts"] and made["stages"].keys() == own["stages"].keys()
    for name, stage in made["stages"].items():
        of_checkout = own["stages"][name]
        assert f"build/computation/{name}" in stage["deps"]
        assert {f"build/computation/{name}": {"cache": False}} in computation["outs"]
        for key in ("cmd", "params", "metrics"):
            assert stage.get(key) == of_checkout.get(key)
        for key in ("deps", "outs"):
            built = [
                [str(path if isinstance(path, str) else next(iter(path))) for path in listed.get(key, [])]
                for listed in (stage, of_checkout)
            ]
            ours, theirs = ({p for p in paths if p.startswith(("build/", "models/"))} for paths in built)
            assert ours - {f"build/computation/{name}"} == theirs


def files(root: Path, **content: Any) -> Path:
    """Write texts, JSON, or images for None; names have / for __ and end with their suffix."""
    for name, text in content.items():
        path = root / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        if text is None:
            Image.new("RGB", (60, 40)).save(path)
        else:
            path.write_text(text if isinstance(text, str) else json.dumps(text))
    return root


def coco(name: str) -> dict[str, Any]:
    boxes = [{"id": 1, "image_id": 1, "category_id": 1, "bbox": [1, 2, 30, 20]}]
    images = [{"id": 1, "file_name": name, "width": 60, "height": 40}]
    return {"categories": [{"id": 1, "name": "cat"}], "images": images, "annotations": boxes}


BOX = "<object><name>cat</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox></object>"
VOC = f"<annotation>{BOX}</annotation>"
CVAT = (
    '<annotations><image name="a.jpg" width="60" height="40"{}>'
    '<box label="cat" xtl="1" ytl="1" xbr="9" ybr="9"/></image></annotations>'
)
TASK = {"id": 1, "data": {"image": "a.jpg"}, "annotations": [{"result": []}]}
DEVKIT = {"Annotations__a_dot_xml": VOC, "JPEGImages__a_dot_jpg": None}


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            {"a_dot_jpg": None, "a_dot_xml": VOC, "manifest_dot_json": {"name": "mine"}},
            {"format": "voc", "data": "D", "split": {"val": 0.15, "test": 0.15}},
        ),
        (
            {"a_dot_jpg": None, "a_dot_xml": VOC, "._a.jpg": "\0Mac", "._a.xml": "\0Mac",
             "._a.json": "\0Mac", "classes_dot_json": ["cat"], "names_dot_json": [{"id": 0, "name": "cat"}]},
            {"format": "voc", "data": "D", "split": {"val": 0.15, "test": 0.15}},
        ),
        (
            {"annotations_dot_xml": CVAT.format(""), "a_dot_jpg": None, "._annotations.xml": "\0Mac"},
            {"format": "cvat", "data": "D", "split": {"val": 0.15, "test": 0.15}},
        ),
        (
            DEVKIT | {f"ImageSets__Main__{name}_dot_txt": "a\n" for name in ("trainval", "train", "val", "test")},
            {"format": "voc", "data": "D", "splits": {"train": "train", "val": "val", "test": "test"}},
        ),
        (
            DEVKIT | {f"ImageSets__Main__{name}_dot_txt": "a\n" for name in ("trainval", "test")},
            {"format": "voc", "data": "D", "splits": {"train": "trainval", "test": "test"}, "split": {"val": 0.15}},
        ),
        (
            {"images__a_dot_jpg": None, "labels__a_dot_txt": "0 0.5 0.5 0.5 0.5", "classes_dot_txt": "cat\n"},
            {"format": "yolo", "data": "D", "split": {"val": 0.15, "test": 0.15}},
        ),
        (
            {"annotations_dot_xml": CVAT.format(' subset="Train"'), "images__a_dot_jpg": None},
            {"format": "cvat", "data": "D", "splits": {"train": "Train"}, "split": {"val": 0.15, "test": 0.15}},
        ),
        (
            {"e_dot_json": [TASK], "a_dot_jpg": None, "._e.json": "\0Mac"},
            {"format": "labelstudio", "data": "D", "split": {"val": 0.15, "test": 0.15}},
        ),
        (
            {"train___annotations_dot_coco_dot_json": coco("a.jpg"), "train__a_dot_jpg": None,
             "valid___annotations_dot_coco_dot_json": coco("b.jpg"), "valid__b_dot_jpg": None},
            {"format": "coco", "splits": {
                "train": {"annotations": "D/train/_annotations.coco.json", "images": "D/train"},
                "val": {"annotations": "D/valid/_annotations.coco.json", "images": "D/valid"},
            }, "split": {"test": 0.15}},
        ),
        (
            {"annotations__instances_default_dot_json": coco("a.jpg"), "images__a_dot_jpg": None},
            {"format": "coco", "splits": {
                "train": {"annotations": "D/annotations/instances_default.json", "images": "D/images"}
            }, "split": {"val": 0.15, "test": 0.15}},
        ),
    ],
)  # fmt: skip
def test_each_format_is_recognised_with_its_splits(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: dict[str, Any], expected: dict[str, Any]
) -> None:
    monkeypatch.chdir(tmp_path)
    files(Path("D"), **content)
    found, source, stated = recognise(Path("D"))
    assert found == expected and "train" in stated and source.format == expected["format"]


@pytest.mark.parametrize("name", STARTS)
def test_the_network_that_is_written_takes_the_weights_of_its_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.chdir(tmp_path)
    without_git_and_dvc(monkeypatch)
    init(raccoon(Path("photos"), 4), STARTS[name], 2, print)
    params = load_params(Path("params.yaml"))
    assert params.model.start_from == name
    begun = begin(params.model, GENERATED_CLASSES, weights_of(params.model, tmp_path))
    other = {"imagenet": "voc20", "voc20": "imagenet"}[name]
    with pytest.raises(WeightsError if name == "voc20" else TrainingError):
        model = params.model.model_copy(update={"start_from": other})
        begin(model, GENERATED_CLASSES, weights_of(model, tmp_path))
    if name == "voc20":  # all but the rows of the classes
        assert begun.parameters == {key for key in begun.network.state_dict() if ".classes." not in key}


def test_the_command_offers_every_start() -> None:
    (option,) = (own for own in command.params if own.name == "start")
    assert isinstance(option.type, Choice) and list(option.type.choices) == list(STARTS)


def test_settings_suit_the_objects_the_images_and_the_processor() -> None:
    small = suggest([0.02] * 9 + [0.5], side=1920, training=1000, seconds=0.2, cores=2)
    assert small.image_size == 640 and "800 would show small ones better" in small.image_size_reason
    large = suggest([0.4, 0.5], side=500, training=1000, seconds=0.2, cores=2)
    assert large.image_size == 256 and large.epochs == 8 and large.batch_size == 8
    assert suggest([0.05], side=300, training=1000, seconds=0.2, cores=2).image_size == 288  # no larger than the images
    few = suggest([0.4], side=500, training=20, seconds=0.2, cores=2)
    assert (few.epochs, few.batch_size, few.average) == (60, 4, 0.99)
    many = [suggest([0.03], side=800, training=5000, seconds=0.2, cores=cores).epochs for cores in (1, 16)]
    assert many == [4, 8]
    assert suggest([], side=500, training=10, seconds=0.2, cores=1).batch_size == 2


def test_nothing_is_overwritten_and_nothing_is_guessed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    raccoon(tmp_path / "photos", 2)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    with pytest.raises(ParamsError, match=r"its folder contains the project: put the data into one"):
        init(Path(".."), START, 2, print)
    (tmp_path / "other").mkdir()
    with pytest.raises(AnnotationError, match="no format is recognised: it must hold annotations of coco, cvat, lab"):
        init(Path("../other"), START, 2, print)
    for name in ("params.yaml", "dvc.yaml", "splits.csv"):
        Path(name).write_text("mine")
        with pytest.raises(ParamsError, match=rf"{name} is there already"):
            init(Path("../photos"), START, 2, print)
        Path(name).unlink()
    assert list(Path().iterdir()) == []


def without_git_and_dvc(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_set_up", "_first_commit"):
        monkeypatch.setattr(f"detector.stages.init.{name}", lambda: None)


def test_the_written_defaults_fetch_twelve_images_with_every_seed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    without_git_and_dvc(monkeypatch)
    init(raccoon(Path("photos"), 12), START, 2, print)
    settings = load_params(Path("params.yaml")).fetch
    for seed in range(1, 11):
        counts = [len(split.files) for split in read_sources(settings, seed, tmp_path / "none", {}).splits.values()]
        assert sum(counts) == 12 and len(counts) == 3 and min(counts) >= 1
    assert fetch(settings, 1, Path("build/dataset")).splits["test"].images >= 1


def test_a_run_is_no_project_and_sources_that_dvc_does_not_watch_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    without_git_and_dvc(monkeypatch)
    write_run(Path("boxes"), f"{tmp_path}/photos/", [])
    with pytest.raises(AnnotationError, match=r"boxes: is a published run.*runs: \[boxes\]\}; docs/circle\.md"):
        init(Path("boxes"), START, 2, print)
    init(raccoon(Path("photos"), 4), START, 2, print)
    settings = load_params(Path("params.yaml")).fetch
    assert unwatched(settings, Path("dvc.yaml")) == []
    added = [
        {"format": "manifests", "runs": ["boxes/", "s3://b/r"], "corrections": [{"format": "voc", "data": "photos/x"}]},
        {"format": "labelstudio", "data": "round-1/export.json", "images": "round-1/images"},
        # The settings have the checksums of these archives.
        {"format": "yolo", "archives": [{"url": "https://a.org/b.zip", "checksum": MD5}]},
        {"format": "coco", "splits": {"train": {"annotations": "c.json", "images": "d.zip", "checksum": MD5}}},
    ]
    sources = [settings.sources[0].model_dump(exclude_unset=True), *added]
    more = FetchSettings.model_validate({"sources": sources})
    missing = ["boxes/manifest.json", "s3://b/r/manifest.json", "round-1/export.json", "round-1/images", "c.json"]
    assert unwatched(more, Path("dvc.yaml")) == missing
    assert unwatched(more, ROOT / "dvc.yaml") == unwatched(more, Path("none.yaml")) == []


def test_a_folder_that_git_ignores_is_refused_and_nothing_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raccoon(tmp_path / "photos", 2)
    (tmp_path / "project").mkdir()
    (tmp_path / ".gitignore").write_text("project/\n")
    subprocess.run(["git", "init", "--quiet", str(tmp_path)], check=True)
    monkeypatch.chdir(tmp_path / "project")
    with pytest.raises(ParamsError, match=r"project: `dvc init` failed.*: failed to .* is ignored by your") as caught:
        init(Path("../photos"), START, 2, print)
    assert "\n" not in str(caught.value) and list(Path().iterdir()) == []


def test_a_repository_that_init_made_goes_when_dvc_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    photos = raccoon(tmp_path / "photos", 2)
    (tmp_path / "project").mkdir()
    monkeypatch.chdir(tmp_path / "project")
    monkeypatch.setattr("detector.stages.init.sys.executable", "false")
    with pytest.raises(ParamsError, match="`dvc init` failed, and nothing was written: exit code 1"):
        init(photos, START, 2, print)
    assert list(Path().iterdir()) == []


def test_what_is_written_is_valid_for_names_that_yaml_would_misread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photos = raccoon(Path("no: #1"), 4)
    for path in photos.glob("annotations/*.xml"):
        path.write_text(path.read_text().replace("<name>disc<", "<name>yes: #$x<").replace("<name>gear<", "<name>é<"))
    without_git_and_dvc(monkeypatch)
    init(photos, START, 2, print)
    assert load_params(Path("params.yaml")).fetch.sources[0].name() == "no: #1"
    assert "no: #1" in yaml.safe_load(Path("dvc.yaml").read_text())["stages"]["fetch"]["deps"]
