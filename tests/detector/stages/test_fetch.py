import hashlib
import json
import subprocess
import sys
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from detector.common.errors import AnnotationError, ArchiveError
from detector.data.annotations import load_coco
from detector.data.generated import GENERATED_CLASSES, draw_scene
from detector.data.settings import FetchSettings
from detector.runtime.images import decode_image
from detector.stages.fetch import fetch

pytestmark = pytest.mark.slow

SPLITS = ("train", "val", "test")


def settings(*sources: dict, **others: object) -> FetchSettings:
    return FetchSettings.model_validate({"sources": sources} | others)


def scenes(train: int = 4, val: int = 2, test: int = 3) -> FetchSettings:
    return settings({"format": "generated", "splits": {"train": train, "val": val, "test": test}})


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.slow
def test_generated_scenes_are_written_the_same_every_time(tmp_path: Path) -> None:
    report = fetch(scenes(), 1, tmp_path / "a")
    fetch(scenes(), 1, tmp_path / "b")
    found = contents(tmp_path / "a")
    assert found == contents(tmp_path / "b")
    assert len(found) == 4 + 2 + 3 + 6
    assert {name.split("/")[0] for name in found} == {
        "images", "train.json", "val.json", "test.json", "report.json", "validation.json", "runs.json",
    }  # fmt: skip
    assert [report.splits[name].images for name in SPLITS] == [4, 2, 3]
    fetch(scenes(), 2, tmp_path / "b")
    assert contents(tmp_path / "b")["train.json"] != found["train.json"]


def test_generated_files_hold_the_scenes(tmp_path: Path) -> None:
    fetch(scenes(), 1, tmp_path)
    dataset = load_coco(tmp_path / "train.json")
    assert dataset.classes == GENERATED_CLASSES
    scene = draw_scene(1, 2)
    image = dataset.images[1]
    np.testing.assert_array_equal(image.boxes, scene.boxes)
    np.testing.assert_array_equal(image.ignore, scene.ignore)
    pixels = decode_image((tmp_path / "images" / image.file_name).read_bytes())
    assert pixels.shape == scene.pixels.shape == (image.height, image.width, 3)
    assert np.abs(pixels.astype(int) - scene.pixels).mean() < 6  # JPEG of a noisy picture


def test_a_larger_train_split_leaves_the_others_as_they_were(tmp_path: Path) -> None:
    fetch(scenes(), 1, tmp_path / "a")
    fetch(scenes(train=5), 1, tmp_path / "b")
    a, b = contents(tmp_path / "a"), contents(tmp_path / "b")
    assert a["val.json"] == b["val.json"] and a["test.json"] == b["test.json"]
    assert set(b) - set(a) == {"images/train-000005.jpg"}
    assert all(b[name] == data for name, data in a.items() if name.startswith("images/"))


def test_an_earlier_run_leaves_nothing_behind(tmp_path: Path) -> None:
    (tmp_path / "images").mkdir()
    (tmp_path / "images/old.jpg").write_bytes(b"old")
    fetch(scenes(), 1, tmp_path)
    assert "images/old.jpg" not in contents(tmp_path)


def picture(path: Path, colour: int, size: tuple[int, int] = (60, 40)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (colour, 255 - colour, 7)).save(path, quality=90)


def voc_settings(tmp_path: Path, colours: dict[str, int], of_val: str | None = "") -> FetchSettings:
    """One devkit archive: an image of its split's name and colour in each split, with one dog.

    of_val: another annotation of the image in val; None leaves it out.
    """
    home = tmp_path / "kit/VOCdevkit/VOC2007"
    dog = (
        "<annotation><object><name>dog</name><bndbox><xmin>1</xmin><ymin>3</ymin><xmax>70</xmax><ymax>20</ymax>"
        "</bndbox></object></annotation>"
    )
    for name, colour in colours.items():
        picture(home / f"JPEGImages/{name}.jpg", colour)
        for folder, suffix, text in (
            ("Annotations", "xml", dog),
            ("ImageSets/Main", "txt", f"{name}\n"),
        ):
            (home / folder).mkdir(parents=True, exist_ok=True)
            (home / folder / f"{name}.{suffix}").write_text(text)
    if of_val is None:
        (home / "Annotations/val.xml").unlink()
    elif of_val:
        (home / "Annotations/val.xml").write_text(of_val)
    with tarfile.open(tmp_path / "kit.tar.gz", "w:gz") as tar:
        tar.add(tmp_path / "kit/VOCdevkit", "VOCdevkit")
    digest = hashlib.sha256((tmp_path / "kit.tar.gz").read_bytes()).hexdigest()
    archive = {"url": str(tmp_path / "kit.tar.gz"), "checksum": f"sha256:{digest}"}
    lists = {name: name for name in SPLITS}
    return settings({"format": "voc", "archives": [archive], "cache": str(tmp_path / "cache"), "splits": lists})


def test_voc_archives_become_coco_files(tmp_path: Path) -> None:
    chosen = voc_settings(tmp_path, {"train": 10, "val": 20, "test": 30})
    report = fetch(chosen, 1, tmp_path / "out")
    names = {"images/train.jpg", "images/val.jpg", "images/test.jpg"}
    files = {"train.json", "val.json", "test.json", "report.json", "validation.json", "runs.json"}
    assert set(contents(tmp_path / "out")) == names | files
    rules = json.loads((tmp_path / "out/validation.json").read_text())
    broken = {rule["rule"] for rule in rules if rule["verdict"] != "passed"}
    assert rules and broken == {"near_apart"}  # the three images have one content at three sizes
    image = load_coco(tmp_path / "out/val.json").images[0]
    np.testing.assert_array_equal(image.boxes, [[0, 2, 60, 20]])
    metrics = json.loads((tmp_path / "out/report.json").read_text())
    assert metrics == report.metrics()
    assert metrics["val"]["images"] == metrics["val"]["boxes"] == metrics["val"]["clipped"] == 1
    assert metrics["val"]["dropped"] == metrics["val"]["ignored"] == metrics["val"]["size_mismatched"] == 0
    assert metrics["val"]["per_class"]["dog"] == 1
    assert sum(metrics["val"]["per_class"].values()) == 1


def test_an_image_in_two_splits_is_refused_naming_both(tmp_path: Path) -> None:
    chosen = voc_settings(tmp_path, {"train": 10, "val": 20, "test": 10})
    with pytest.raises(AnnotationError, match=r"test\.jpg \(test\) and train\.jpg \(train\) are the same image"):
        fetch(chosen, 1, tmp_path / "out")
    (rules,) = contents(tmp_path / "out").values()  # what the rules say stays, to be read
    broken = {rule["rule"]: rule["examples"] for rule in json.loads(rules) if rule["verdict"] == "rejected"}
    assert list(broken) == ["contents_apart"] and len(broken["contents_apart"]) == 2


def test_a_wrong_checksum_ends_the_stage_before_anything_is_written(tmp_path: Path) -> None:
    chosen = voc_settings(tmp_path, {"train": 10, "val": 20, "test": 30})
    (tmp_path / "kit.tar.gz").write_bytes(b"other")
    with pytest.raises(ArchiveError, match="expected"):
        fetch(chosen, 1, tmp_path / "out")
    assert contents(tmp_path / "out") == {}


def coco_section(tmp_path: Path, categories: dict[str, list[str]] | None = None, same_name: bool = False) -> dict:
    section: dict = {"format": "coco", "cache": str(tmp_path / "cache"), "splits": {}}
    for number, name in enumerate(SPLITS):
        file_name = "same.jpg" if same_name else f"{name}.jpg"
        picture(tmp_path / "photos" / name / file_name, 40 * number)
        document = {
            "categories": [
                {"id": 5 * (i + 1), "name": c} for i, c in enumerate((categories or {}).get(name, ["cat", "dog"]))
            ],
            "images": [{"id": 9, "file_name": file_name, "width": 60, "height": 40}],
            "annotations": [{"id": 1, "image_id": 9, "category_id": 10, "bbox": [1, 2, 30, 20]}],
        }
        (tmp_path / f"{name}.json").write_text(json.dumps(document))
        section["splits"][name] = {
            "annotations": str(tmp_path / f"{name}.json"),
            "images": str(tmp_path / "photos" / name),
            "checksum": None,
        }
    return section


def test_coco_folders_are_copied(tmp_path: Path) -> None:
    fetch(settings(coco_section(tmp_path)), 1, tmp_path / "out")
    assert (tmp_path / "out/images/test.jpg").read_bytes() == (tmp_path / "photos/test/test.jpg").read_bytes()
    dataset = load_coco(tmp_path / "out/test.json")
    assert dataset.classes == ("cat", "dog") and dataset.images[0].labels.tolist() == [1]


def test_one_coco_archive_may_serve_every_split(tmp_path: Path) -> None:
    section = coco_section(tmp_path)
    with tarfile.open(tmp_path / "photos.tar", "w") as tar:
        for name in SPLITS:
            tar.add(tmp_path / "photos" / name / f"{name}.jpg", f"photos/{name}.jpg")
    digest = hashlib.md5((tmp_path / "photos.tar").read_bytes()).hexdigest()
    for name in SPLITS:
        section["splits"][name] |= {"images": str(tmp_path / "photos.tar"), "checksum": f"md5:{digest}"}
    fetch(settings(section), 1, tmp_path / "out")
    assert len(list((tmp_path / "out/images").iterdir())) == 3
    for name in SPLITS:
        section["splits"][name]["checksum"] = None
    with pytest.raises(ArchiveError, match="state its checksum"):
        fetch(settings(section), 1, tmp_path / "out")


def test_splits_with_other_categories_are_refused(tmp_path: Path) -> None:
    section = coco_section(tmp_path, categories={"val": ["cat", "cow"]})
    with pytest.raises(AnnotationError, match=r"val\.json: its categories are not those of"):
        fetch(settings(section), 1, tmp_path / "out")


def test_different_files_of_one_name_are_kept_apart(tmp_path: Path) -> None:
    """As in CVAT's exports of several videos, whose frames are all numbered from 0."""
    report = fetch(settings(coco_section(tmp_path, same_name=True)), 1, tmp_path / "out")
    for name in SPLITS:
        (image,) = load_coco(tmp_path / f"out/{name}.json").images
        assert image.file_name == f"{name}/same.jpg"
        photo = tmp_path / "photos" / name / "same.jpg"
        assert (tmp_path / "out/images" / image.file_name).read_bytes() == photo.read_bytes()
    assert report.notices[0].startswith("the splits use one file name for different files; they are kept apart")


def test_one_file_in_two_splits_is_refused(tmp_path: Path) -> None:
    section = coco_section(tmp_path)
    section["splits"]["val"] = section["splits"]["train"]
    with pytest.raises(AnnotationError, match=r"train\.jpg \(train\) and train\.jpg \(val\) are the same image"):
        fetch(settings(section), 1, tmp_path / "out")


def test_errors_name_the_archive_and_what_it_holds(tmp_path: Path) -> None:
    """The folder where it was unpacked is gone when the user reads the error."""
    for damage, reason in (
        ("<annotation><object><name>unicorn", "Annotations/val.xml: is not XML"),
        (
            "<annotation><object><name>unicorn</name></object></annotation>",
            "Annotations/val.xml: an object of class unicorn has no <bndbox>",
        ),
        (None, "in kit.tar.gz: VOCdevkit/VOC2007/Annotations"),
        (
            "<annotation><size><width>9</width><height>9</height></size><object><name>dog</name><bndbox><xmin>1</xmin>"
            "<ymin>1</ymin><xmax>5</xmax><ymax>5</ymax></bndbox></object></annotation>",
            "JPEGImages/val.jpg: the annotation in val states 9x9 pixels",
        ),
    ):
        chosen = voc_settings(tmp_path, {"train": 10, "val": 20, "test": 30}, damage)
        with pytest.raises(AnnotationError) as caught:
            fetch(chosen, 1, tmp_path / "out")
        text = str(caught.value).replace(f"{tmp_path}/kit", "kit")
        assert reason in text and str(tmp_path) not in text and ".unfinished" not in text
        assert "kit.tar.gz: VOCdevkit/VOC2007/" in text


@pytest.mark.parametrize("missing", ["annotations", "images", "archive"])
def test_a_source_that_is_not_here_says_what_copies_of_the_project_lack(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: str
) -> None:
    chosen = settings(coco_section(tmp_path))
    if missing == "archive":
        archive = {"url": "data/kit.tar", "checksum": "md5:" + "0" * 32}
        chosen = settings({"format": "voc", "archives": [archive]})
    else:
        section = coco_section(tmp_path)
        section["splits"]["val"][missing] = "data/nothing"
        chosen = settings(section)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(
        AnnotationError, match=rf"^data/\S+: is not in {tmp_path} \(fetch\.sources: \S+\).*--copy-paths"
    ):
        fetch(chosen, 1, tmp_path / "out")


def test_the_frame_of_boxes_is_a_setting_and_its_decisions_are_counted(tmp_path: Path) -> None:
    section = coco_section(tmp_path)
    document = json.loads((tmp_path / "train.json").read_text())
    exif = Image.Exif()
    exif[0x0112] = 3
    Image.new("RGB", (60, 40), "red").save(tmp_path / "photos/train/train.jpg", exif=exif)
    document["images"][0] |= {"width": 30, "height": 20}
    (tmp_path / "train.json").write_text(json.dumps(document))
    with pytest.raises(AnnotationError, match=r"fetch\.scale_boxes"):
        fetch(settings(section), 1, tmp_path / "out")
    report = fetch(settings(section, scale_boxes=True), 1, tmp_path / "out")
    assert [notice.split(" image(s)")[0] for notice in report.notices] == ["train: the boxes of 1", "train: 1"]
    counts = json.loads((tmp_path / "out/report.json").read_text())
    assert [counts["train"][key] for key in ("turned", "scaled", "frame_assumed")] == [0, 1, 1]
    box = load_coco(tmp_path / "out/train.json").images[0].boxes.tolist()
    assert box == [[2, 4, 60, 40]]  # 1, 2, 30 and 20 pixels of an image of half the size, cut at its edges
    report = fetch(settings(section, scale_boxes=True, boxes_frame="stored"), 1, tmp_path / "out")
    assert load_coco(tmp_path / "out/train.json").images[0].boxes.tolist() == [[0, 0, 58, 36]]


def own_product(tmp_path: Path) -> dict[str, bytes]:
    """A dataset in `out`, which the test tries to use as its own source."""
    fetch(settings(coco_section(tmp_path)), 1, tmp_path / "out")
    (tmp_path / "linked").symlink_to(tmp_path / "out")
    (tmp_path / "around").mkdir()
    (tmp_path / "around/train.jpg").symlink_to(tmp_path / "out/images/train.jpg")
    return contents(tmp_path / "out")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({"images": "out/images"}, "out/images"),
        ({"images": "out"}, "out"),
        ({"images": "build/train/photos"}, "build/train/photos"),  # another stage's result
        ({"images": "./photos/../out/images/"}, "out/images/"),
        ({"images": "linked/images"}, "linked/images"),
        ({"annotations": "out/train.json"}, "out/train.json"),
        ({"images": "around"}, "around/train.jpg"),  # a link to one image of the product
        ({"images": ".", "file_name": "out/images/train.jpg"}, "out/images/train.jpg"),  # the source holds the product
    ],
)
def test_the_product_is_never_its_own_source(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str], where: str
) -> None:
    monkeypatch.chdir(tmp_path)
    before = own_product(tmp_path)
    if file_name := changes.pop("file_name", None):
        document = json.loads((tmp_path / "train.json").read_text())
        document["images"][0]["file_name"] = file_name
        (tmp_path / "train.json").write_text(json.dumps(document))
    section = coco_section(tmp_path) if file_name is None else {"format": "coco", "splits": {
        name: {"annotations": f"{name}.json", "images": f"photos/{name}"} for name in SPLITS
    }}  # fmt: skip
    section["splits"]["train"] |= changes
    with pytest.raises(AnnotationError, match=rf"{where}: lies in \S+, which a stage replaces: copy the source"):
        fetch(settings(section), 1, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_an_archive_in_the_product_is_refused(tmp_path: Path) -> None:
    chosen = voc_settings(tmp_path, {"train": 10, "val": 20, "test": 30})
    fetch(chosen, 1, tmp_path / "out")
    inside = (tmp_path / "kit.tar.gz").rename(tmp_path / "out/kit.tar.gz")
    for url in (str(inside), inside.as_uri()):
        content = chosen.model_dump()
        content["sources"][0]["archives"][0]["url"] = url
        own = FetchSettings.model_validate(content)
        before = contents(tmp_path / "out")
        with pytest.raises(AnnotationError, match=r"kit\.tar\.gz: lies in .*\(fetch\.sources: voc\.archives\)"):
            fetch(own, 1, tmp_path / "out")
        assert contents(tmp_path / "out") == before


@pytest.mark.parametrize("box", [None, {"ignore": 1}, {"iscrowd": 1}, {"bbox": [70, 0, 5, 5]}])
def test_a_training_split_without_a_box_to_learn_from_is_refused(tmp_path: Path, box: dict[str, object] | None) -> None:
    section = coco_section(tmp_path)
    document = json.loads((tmp_path / "train.json").read_text())
    document["annotations"] = [] if box is None else [document["annotations"][0] | box]
    (tmp_path / "train.json").write_text(json.dumps(document))
    with pytest.raises(AnnotationError, match=r"^train: no image has a box to learn from"):
        fetch(settings(section), 1, tmp_path / "out")
    assert contents(tmp_path / "out") == {}


def test_a_link_in_the_result_is_replaced_and_what_it_leads_to_stays(tmp_path: Path) -> None:
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk/mine.jpg").write_bytes(b"mine")
    (tmp_path / "out").mkdir()
    (tmp_path / "out/images").symlink_to(tmp_path / "disk")
    (tmp_path / "out/train.json").symlink_to(tmp_path / "gone")
    fetch(settings(coco_section(tmp_path)), 1, tmp_path / "out")
    assert (tmp_path / "disk/mine.jpg").read_bytes() == b"mine"
    assert len(contents(tmp_path / "out")) == 9 and not (tmp_path / "out/images").is_symlink()


def test_a_source_that_fails_leaves_the_earlier_result(tmp_path: Path) -> None:
    fetch(settings(coco_section(tmp_path)), 1, tmp_path / "out")
    before = contents(tmp_path / "out")
    (tmp_path / "photos/val/val.jpg").write_bytes(b"damaged")
    section = {"format": "coco", "splits": {
        name: {"annotations": str(tmp_path / f"{name}.json"), "images": str(tmp_path / "photos" / name)}
        for name in SPLITS
    }}  # fmt: skip
    with pytest.raises(AnnotationError, match=rf"^{tmp_path}/photos/val/val\.jpg: the image does not decode"):
        fetch(settings(section), 1, tmp_path / "out")
    assert contents(tmp_path / "out") == before


def test_what_a_killed_run_leaves_is_removed_by_the_next(tmp_path: Path) -> None:
    out = tmp_path / "out"
    section = settings(coco_section(tmp_path))
    fetch(section, 1, out)
    before = contents(out)
    (out / ".unpacked-abc").mkdir()  # of an earlier version
    many = scenes(100_000, 1, 1).model_dump_json()
    program = (
        "import sys; from pathlib import Path; from detector.data.settings import FetchSettings;"
        "from detector.stages.fetch import fetch;"
        "fetch(FetchSettings.model_validate_json(sys.argv[1]), 1, Path(sys.argv[2]))"
    )
    with subprocess.Popen([sys.executable, "-c", program, many, str(out)], stderr=subprocess.DEVNULL) as process:
        while not list(out.glob(".unfinished/scratch/*.jpg")):
            assert process.poll() is None
        process.kill()
    left = contents(out)
    assert len(left) > len(before) and before.items() <= left.items()
    fetch(section, 1, out)
    assert contents(out) == before and sorted(path.name for path in out.iterdir() if path.is_dir()) == ["images"]


def test_a_source_without_splits_is_split_once_for_good(tmp_path: Path) -> None:
    text = (
        "<annotation><object><name>cell</name><bndbox><xmin>1</xmin><ymin>1</ymin><xmax>9</xmax><ymax>9</ymax></bndbox>"
        "</object></annotation>"
    )

    def add(*numbers: int) -> None:
        for number in numbers:
            Image.fromarray(draw_scene(5, number).pixels).save(tmp_path / f"photos/{number}.png")
            (tmp_path / f"photos/{number}.xml").write_text(text)

    def splits() -> dict[str, set[str]]:
        fetch(
            settings({"format": "voc", "data": str(tmp_path / "photos")}), 1, tmp_path / "out", tmp_path / "splits.csv"
        )
        return {name: {image.file_name for image in load_coco(tmp_path / f"out/{name}.json").images} for name in SPLITS}

    (tmp_path / "photos").mkdir()
    add(*range(24))
    first = splits()
    assert all(first.values()) and sum(map(len, first.values())) == 24
    lines = (tmp_path / "splits.csv").read_text().splitlines()
    assert len(lines) == 25 and lines[1].startswith(f"{tmp_path}/photos,0.png,")
    # More images come, and a user moves one by hand.
    add(*range(24, 30))
    moved = min(first["train"])
    text_of = (tmp_path / "splits.csv").read_text()
    (tmp_path / "splits.csv").write_text(text_of.replace(f",{moved},train,", f",{moved},test,"))
    second = splits()
    assert all(second[name] >= images - {moved} for name, images in first.items()) and moved in second["test"]
    assert sum(map(len, second.values())) == 30
