"""Published runs as labels: least scores, versions of images, corrections, and what is refused."""

from __future__ import annotations

import dataclasses
import gzip
import hashlib
import io
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError

from detector.common.errors import AnnotationError, ArchiveError
from detector.data.formats.corrections import Correction, Target, match
from detector.data.frames import FrameRules
from detector.data.objects import Objects
from detector.data.published import PublishedRun
from detector.data.settings import FetchSettings
from detector.data.sources import read_sources
from jobs.formats import BoxRecord, Record
from tests.conftest import Bucket
from tests.support.datasets import image_info
from tests.support.published import box, record, write_run
from tests.support.sources import notes, objects, stated, write_image

CAT = ("cat", [5, 5, 25, 25], False)


def photos(root: Path, *names: str) -> list[str]:
    """Write images that all differ; returns their paths."""
    return [str(write_image(root / "photos" / name, colour=20 * number)) for number, name in enumerate(names, start=1)]


def run_over(root: Path, name: str, records: list[Record], **fields: Any) -> str:
    return str(write_run(root / name, f"{root}/photos/", records, **fields))


def test_scores_decide_what_is_an_object_what_is_ignored_and_what_is_background(tmp_path: Path) -> None:
    """The artifact states .6 for cats and .4 for all others."""
    one, two = photos(tmp_path, "a.png", "sub/b.png")
    found = (box("cat", 0.6), box("dog", 0.4, x=30), box("cat", 0.59, x=30), box("cat", 0.3, y=18), box("dog", 0.19))
    run = run_over(tmp_path, "run", [record(one, *found), record(two)])

    def labels(**more: Any) -> list[tuple[str, list[float], bool]]:
        (train,) = stated(format="manifests", runs=[run], **more).values()
        assert train.dataset.classes == ("cat", "dog") and train.checked == frozenset()
        content = objects(train.dataset)
        assert content.pop("photos/sub/b.png") == []
        (image,) = content.values()
        return image

    dog = ("dog", [30, 5, 50, 25], False)
    # The unsure cat at x 30 lies on the dog, and is another reading of it.
    assert labels() == [CAT, dog, ("cat", [5, 18, 25, 38], True)]
    assert [row[2] for row in labels(min_score=0.5)] == [False, False, True]
    assert labels(min_score={"cat": 0.2, "dog": 0.5}) == [
        CAT, ("cat", [30, 5, 50, 25], False), ("cat", [5, 18, 25, 38], False),
    ]  # fmt: skip
    assert labels(min_score=0.61, ignore_from=0.6) == [("cat", [5, 5, 25, 25], True)]
    assert labels(min_score=0.4, ignore_from=1.0)[1:] == [dog, ("cat", [30, 5, 50, 25], False)]
    with pytest.raises(AnnotationError, match=r"kept no box with a score below 0\.1.*--min-score 0\.05"):
        labels(min_score=0.05)
    with pytest.raises(AnnotationError, match="no run has the label 'cow', only cat, dog"):
        labels(min_score={"cow": 0.5})


def test_an_artifact_that_states_little_and_a_run_that_kept_little(tmp_path: Path) -> None:
    (one,) = photos(tmp_path, "a.png")
    run = run_over(tmp_path, "run", [record(one, box("cat", 0.5))], card="{}", min_score=0.5)
    (train,) = stated(format="manifests", runs=[run]).values()
    assert objects(train.dataset) == {"photos/a.png": [CAT]} and train.runs[0].least_scores == {"cat": 0.5, "dog": 0.5}
    assert [note[:37] for note in notes(train)] == ["2 label(s) have no boxes below their least"[:37]]
    Path(run, "model/model.json").write_text('{"operating_score": 0}')
    with pytest.raises(AnnotationError, match=r"model\.json: has changed since it was published: put the published"):
        stated(format="manifests", runs=[run])
    (train,) = stated(format="manifests", runs=[run], min_score=0.5).values()  # asks the artifact nothing
    assert len(train.files) == 1


def test_boxes_of_a_detector_are_those_of_the_upright_image(tmp_path: Path) -> None:
    """Whatever frame the settings state for the boxes that people drew; a half turn does not show in the size."""
    turned, corrected = (str(write_image(tmp_path / "photos" / f"{n}.jpg", 3, colour=90 * n)) for n in (1, 2))
    run = run_over(tmp_path, "run", [record(turned, box("cat", 0.9)), record(corrected, box("cat", 0.9))])
    correction = labelled(tmp_path / "round-1", {"2.jpg": Path(corrected)}, {"2.jpg": [[5, 5, 20, 20]]})
    (train,) = stated(format="manifests", runs=[run], corrections=[correction]).values()
    found = objects(train.fit(FrameRules("stored")).dataset)
    assert found == {"photos/1.jpg": [CAT], "photos/2.jpg": [("cat", [35, 15, 55, 35], False)]}
    assert train.fit(FrameRules()).repairs.assumed_upright == 1


def test_images_that_failed_changed_or_are_gone_are_counted(tmp_path: Path) -> None:
    paths = photos(tmp_path, "a.png", "b.png", "c.png", "d.png")
    records = [record(path, box("cat", 0.9)) for path in paths]
    records += [record(f"{tmp_path}/photos/e{n}.png", etag=None, status="unreadable") for n in range(2)]
    run = run_over(tmp_path, "run", records)
    Path(paths[1]).write_bytes(b"something else")
    Path(paths[2]).unlink()
    (train,) = stated(format="manifests", runs=[run]).values()
    assert list(objects(train.dataset)) == ["photos/a.png", "photos/d.png"]
    assert sorted(notes(train)) == [
        "1 image(s) were left out, because the version that the run has seen is not there any more (changed)",
        "1 image(s) were left out, because the version that the run has seen is not there any more (missing)",
        "2 image(s) were left out, because the run could not read them (unreadable)",
    ]
    (origin,) = train.runs
    assert (origin.images, origin.boxes, origin.corrected, origin.artifact) == (2, 2, 0, "teacher")
    for path in (paths[0], paths[3]):
        Path(path).unlink()
    with pytest.raises(AnnotationError, match=r"no image is left\..*3 image\(s\).*\(missing\)"):
        stated(format="manifests", runs=[run])


def test_the_last_run_that_read_an_image_gives_its_labels(tmp_path: Path) -> None:
    one, two = photos(tmp_path, "a.png", "b.png")
    old = run_over(tmp_path, "old", [record(one, box("dog", 0.9)), record(two, box("dog", 0.9))])
    new = run_over(tmp_path, "new", [record(one, box("cat", 0.9)), record(two, etag=None, status="forbidden")])
    (train,) = stated(format="manifests", runs=[old, new]).values()
    assert [row[0][0] for row in objects(train.dataset).values()] == ["cat", "dog"]
    assert [origin.images for origin in train.runs] == [1, 1]
    assert notes(train) == ["1 image(s) are in several runs; their labels are those of the last one"]
    other = tmp_path / "other/photos"
    write_image(other / "a.png", colour=200)
    clash = str(write_run(tmp_path / "clash", f"{other}/", [record(f"{other}/a.png")]))
    with pytest.raises(AnnotationError, match=r"has the same name photos/a\.png: give each run a source of its own"):
        stated(format="manifests", runs=[old, clash])


def test_several_runs_vote(tmp_path: Path) -> None:
    """The artifacts state .6 for cats and .4 for dogs, or .2 and .4, so that a cat that both looked for needs .4."""
    one, two, three, four = photos(tmp_path, "a.png", "b.png", "c.png", "d.png")
    first = run_over(
        tmp_path, "first",
        [
            record(one, box("cat", 0.8), box("dog", 0.5, x=30)), record(two, box("cat", 0.9)),
            record(three, etag="f" * 32), record(four, box("dog", 0.9), size=(40, 60)),
        ],
    )  # fmt: skip
    second = run_over(
        tmp_path, "second",
        [
            record(one, box("cat", 0.4, x=8)), record(two, etag=None, status="unreadable"),
            record(three, box("cat", 0.3)), record(four, box("cat", 0.3)),
        ],
        card='{"operating_score": 0.4, "class_scores": {"cat": 0.2}}',
    )  # fmt: skip
    (train,) = stated(format="manifests", runs=[first, second], vote=True).values()
    assert objects(train.dataset) == {
        "photos/a.png": [("cat", [6, 5, 26, 25], False), ("dog", [30, 5, 50, 25], True)],  # the dog has .25
        "photos/b.png": [CAT],
        "photos/c.png": [CAT],
        "photos/d.png": [CAT],
    }
    assert sorted(notes(train)) == [
        "1 box(es) with scores below the least are ignored: neither objects nor background",
        "1 image(s) are in several runs, which vote on their labels",
        "2 reading(s) of images have no vote, because a later run has read another version of the image",
    ]
    assert [(origin.images, origin.boxes) for origin in train.runs] == [(2, 2), (3, 3)]
    assert [origin.least_scores for origin in train.runs] == [{"cat": 0.6, "dog": 0.4}, {"cat": 0.2, "dog": 0.4}]
    (last,) = stated(format="manifests", runs=[first, second]).values()
    assert objects(last.dataset)["photos/a.png"] == [("cat", [8, 5, 28, 25], False)]


def labelled(folder: Path, images: dict[str, Path], rows: dict[str, list[list[float]]]) -> dict[str, Any]:
    """A COCO file of a person, who calls cats Cat and birds bird; images: the file of each name."""
    for name, path in images.items():
        (folder / "images" / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / "images" / name).write_bytes(path.read_bytes())
    document = {
        "categories": [{"id": 1, "name": "Cat"}, {"id": 2, "name": "bird"}],
        "images": [{"id": n, "file_name": name, "width": 60, "height": 40} for n, name in enumerate(images, 1)],
        "annotations": [
            {"id": 10 * n + m, "image_id": n, "category_id": m, "bbox": row}
            for n, name in enumerate(images, 1)
            for m, row in enumerate(rows.get(name, []), 1)
        ],
    }
    (folder / "labels.json").write_text(json.dumps(document))
    files = {"annotations": str(folder / "labels.json"), "images": str(folder / "images")}
    return {"format": "coco", "splits": {"train": files}, "rename": {"Cat": "cat"}, "weight": 2}


def test_corrected_labels_stand_alone_and_only_these_may_leave_train(tmp_path: Path) -> None:
    names = [f"{n:02}.png" for n in range(20)]
    paths = [tmp_path / "photos" / name for name in names]
    for number, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        noise = Image.effect_noise((9, 8), 90 + number).resize((60, 40))
        noise.convert("RGB").save(path)
    run = run_over(tmp_path, "run", [record(str(path), box("dog", 0.9)) for path in paths])
    # The first is found by its bytes, although its name has changed; the second was written anew; the third shows
    # nothing; the fourth is gone from INPUT by now.
    Image.open(paths[1]).save(tmp_path / "again.png", compress_level=1)
    images = {"renamed.png": paths[0], "01.png": tmp_path / "again.png", "02.png": paths[2], "03.png": paths[3]}
    rows: dict[str, list[list[float]]] = {"renamed.png": [[1, 2, 30, 20], [2, 2, 9, 9]], "01.png": [[1, 1, 9, 9]]}
    corrections = labelled(tmp_path / "round-1", images, rows)
    paths[3].unlink()
    source = {"format": "manifests", "runs": [run], "corrections": [corrections], "weight": 3}
    (train,) = stated(**source).values()
    found = objects(train.dataset)
    assert train.dataset.classes == ("cat", "dog", "bird") and list(found) == [f"photos/{name}" for name in names]
    assert found["photos/00.png"] == [("cat", [1, 2, 31, 22], False), ("bird", [2, 2, 11, 11], False)]
    assert found["photos/01.png"] == [("cat", [1, 1, 10, 10], False)]
    assert found["photos/02.png"] == found["photos/03.png"] == []
    assert all(found[f"photos/{name}"][0][0] == "dog" for name in names[4:])
    assert train.checked == {f"photos/{name}" for name in names[:4]}
    (origin,) = train.runs
    assert (origin.images, origin.boxes, origin.corrected) == (20, 16, 4)
    assert notes(train) == [
        "1 corrected image(s) have the name of the run's image and other bytes; the corrected file was taken"
    ]
    source["split"] = {"val": 0.3, "test": 0.3}
    joined = read_sources(FetchSettings.model_validate({"sources": [source]}), 1, tmp_path / "none", {})
    held = {image.file_name for name in ("val", "test") for image in joined.splits[name].dataset.images}
    assert held and held <= train.checked and joined.runs == [origin]
    weights = {image.file_name: image.weight for image in joined.splits["train"].dataset.images}
    assert {weight for name, weight in weights.items() if name not in train.checked} == {3}
    assert all(weights[name] == 6 for name in train.checked - held)
    # A copy of a corrected image of val, without labels of a person, is in no split.
    near = next(image for image in joined.splits["val"].dataset.images)
    sides = {}
    copy = tmp_path / "photos/copy.png"
    Image.open(joined.splits["val"].files[near.file_name]).resize((120, 80)).save(copy)
    more = run_over(tmp_path, "more", [record(str(copy), box("dog", 0.9), size=(120, 80))])
    both = FetchSettings.model_validate({"sources": [source | {"runs": [run, more]}]})
    again = read_sources(both, 1, tmp_path / "none", sides)
    assert not any("photos/copy.png" in split.files for split in again.splits.values())
    assert any(text.startswith("1 image(s) resemble images of val or test") for text in again.notices)


def test_images_of_val_and_test_of_another_source_are_not_taken(tmp_path: Path) -> None:
    """People have labelled three images of the bucket, which lie elsewhere and were compressed again."""
    paths = [tmp_path / f"photos/{n}.png" for n in range(8)]
    for number, path in enumerate(paths):
        path.parent.mkdir(exist_ok=True)
        Image.fromarray(np.random.default_rng(number).integers(0, 256, (5, 6, 3), np.uint8)).resize((60, 40)).save(path)
    people: dict[str, Any] = {"format": "coco", "splits": {}}
    for number, name in enumerate(("train", "val", "test")):
        folder = tmp_path / name
        source = labelled(folder, {f"{name}.png": paths[number]}, {f"{name}.png": [[1, 2, 30, 20]]})
        Image.open(paths[number]).convert("L").convert("RGB").save(folder / f"images/{name}.png")
        people["splits"][name] = source["splits"]["train"]
    run = run_over(tmp_path, "run", [record(str(path), box("dog", 0.9)) for path in paths])
    sources = [people, {"format": "manifests", "runs": [run]}]
    joined = read_sources(FetchSettings.model_validate({"sources": sources}), 1, tmp_path / "none", {})
    assert sorted(joined.splits["train"].files) == [
        "photos/0.png",
        *(f"photos/{n}.png" for n in range(3, 8)),
        "train.png",
    ]
    assert "source 2: 2 image(s) of train resemble images of val or test of another source, and were left out" in (
        joined.notices
    )


def test_images_of_one_fixed_camera_stay_in_train(tmp_path: Path) -> None:
    """All resemble each other, as `divide` says in a notice: those of val and test leave no other image out."""
    scene = np.tile(np.linspace(0, 250, 60).astype(np.uint8)[None, :, None], (40, 1, 3))
    paths = [tmp_path / f"photos/{number}.png" for number in range(24)]
    paths[0].parent.mkdir()
    for number, path in enumerate(paths):
        pixels = scene.copy()
        pixels[number, 5:9] = 255
        Image.fromarray(pixels).save(path)
    run = run_over(tmp_path, "run", [record(str(path), box("dog", 0.9)) for path in paths])
    corrections = labelled(tmp_path / "round-1", {path.name: path for path in paths[:12]}, {})
    split = {"val": 0.25, "test": 0.25}
    source = {"format": "manifests", "runs": [run], "corrections": [corrections], "split": split}
    joined = read_sources(FetchSettings.model_validate({"sources": [source]}), 1, tmp_path / "none", {})
    assert any("as those of one fixed camera do" in notice for notice in joined.notices)
    assert sum(len(split.files) for split in joined.splits.values()) == 24
    assert {f"photos/{number}.png" for number in range(12, 24)} <= joined.splits["train"].files.keys()


def test_what_the_reader_of_corrections_leaves_out_is_said(tmp_path: Path) -> None:
    """A person has finished one of two tasks: the other image has the detector's labels still."""
    paths = photos(tmp_path, "a.png", "b.png")
    run = run_over(tmp_path, "run", [record(path, box("dog", 0.9)) for path in paths])
    tasks = [
        {"id": 1, "data": {"image": "a.png"}, "annotations": [{"result": []}]},
        {"id": 2, "data": {"image": "b.png"}, "annotations": []},
    ]
    export = tmp_path / "export.json"
    export.write_text(json.dumps(tasks))
    corrections = {"format": "labelstudio", "data": str(export), "images": str(tmp_path / "photos")}
    (train,) = stated(format="manifests", runs=[run], corrections=[corrections]).values()
    assert train.checked == {"photos/a.png"}
    assert [text for text in notes(train) if text.startswith("corrections: 1 task(s) have no finished annotation")]


def test_a_correction_without_an_image_is_refused(tmp_path: Path) -> None:
    paths = photos(tmp_path, "a.png", "b.png")
    run = run_over(tmp_path, "run", [record(path) for path in paths])
    other = write_image(tmp_path / "other.png", colour=222)
    corrections = labelled(tmp_path / "round-1", {"c.png": other}, {})
    with pytest.raises(AnnotationError, match=r"c\.png: corrections must be of images of the runs.*none of them"):
        stated(format="manifests", runs=[run], corrections=[corrections])
    targets = {f"{n}/a.png": Target(f"s3://{n}/a.png", "a.png", None) for n in (1, 2)}
    correction = Correction(other, image_info(1, file_name="a.png"), [])
    with pytest.raises(AnnotationError, match=r"has the name of several: s3://1/a\.png, s3://2/a\.png"):
        match([correction], targets, {})


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"schema": 2}, r"manifest\.json: schema 2 is not read here, only schema 1: use a newer boxcar"),
        ({"schema": ...}, r"manifest\.json: schema: Field required"),
        ({"status": "rejected"}, r"was published as rejected: .*`take_rejected: true`"),
        ({"parts": [{"key": "../a", "count": 1, "sha256": "0"}]}, r"parts\.0\.key: String should match"),
        ({"parts": [{"key": "boxes/part-0000009.jsonl", "count": 1, "sha256": "0"}]}, "part-0000009.jsonl: is missing"),
        ({"boxes": {"dog": 1}}, "has the label 'cat', which the manifest does not count"),
    ],
)
def test_what_is_not_a_whole_published_run_is_refused(tmp_path: Path, change: dict[str, Any], reason: str) -> None:
    (one,) = photos(tmp_path, "a.png")
    run = run_over(tmp_path, "run", [record(one, box("cat", 0.9))])
    content = json.loads(Path(run, "manifest.json").read_text()) | change
    Path(run, "manifest.json").write_text(
        json.dumps({key: value for key, value in content.items() if value is not ...})
    )
    with pytest.raises(AnnotationError, match=reason):
        stated(format="manifests", runs=[run])


def test_changed_parts_and_other_places_are_refused_and_a_rejected_run_can_be_taken(tmp_path: Path) -> None:
    (one,) = photos(tmp_path, "a.png")
    run = run_over(tmp_path, "run", [record(one, box("cat", 0.9))], status="rejected")
    (train,) = stated(format="manifests", runs=[run], take_rejected=True).values()
    assert len(train.files) == 1
    part = Path(run, "boxes/part-0000000.jsonl")
    part.write_bytes(part.read_bytes().replace(b"0.9", b"0.8"))
    with pytest.raises(AnnotationError, match=r"part-0000000\.jsonl: has changed since it was published"):
        stated(format="manifests", runs=[run], take_rejected=True)
    with pytest.raises(AnnotationError, match=r"photos/manifest\.json: is missing: name the OUTPUT of a published run"):
        stated(format="manifests", runs=[str(tmp_path / "photos")])
    for wrong, reason in (
        ({"split": {"val": 0.1}}, "a detector must not be measured with labels that a detector made"),
        ({"corrections": [{"format": "voc", "data": "d", "split": {}}]}, "`split` belongs to the source of the runs"),
        ({"runs": []}, "at least 1 item"),
    ):
        with pytest.raises(ValidationError, match=reason):
            FetchSettings.model_validate({"sources": [{"format": "manifests", "runs": ["r"]} | wrong]})


def test_a_bucket_gives_each_version_once(tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    keys = ["a.png", "b c/ü#?.png", "c.png", "d.png"]
    records = []
    for number, key in enumerate(keys):
        data = write_image(tmp_path / "one.png", colour=30 * number).read_bytes()
        etag = hashlib.md5(data).hexdigest()
        if key != "d.png":
            bucket.put(f"in/{key}", data)
        records.append(record(f"{bucket.uri}/in/{key}", box("cat", 0.9), etag=etag))
    write_run(tmp_path / "run", f"{bucket.uri}/in/", records)
    bucket.upload(tmp_path / "run", "out")
    bucket.put("in/c.png", b"another version")
    source = {"format": "manifests", "runs": [f"{bucket.uri}/out/"]}
    (train,) = stated(**source).values()
    assert list(train.files) == ["in/a.png", "in/b c/ü#%3F.png"]
    assert all(path.is_relative_to("data/archives/images") for path in train.files.values())
    assert sorted(text[-10:] for text in notes(train)) == [" (changed)", " (missing)"]
    assert objects(train.fit(FrameRules()).dataset)["in/a.png"] == [CAT]
    bucket.delete("in/a.png")
    (again,) = stated(**source).values()
    assert again.files == train.files  # downloads are kept
    with pytest.raises(AnnotationError, match=r"nothing/manifest\.json: is missing"):
        stated(format="manifests", runs=[f"{bucket.uri}/nothing"])


def test_images_are_asked_for_as_the_run_did_and_a_server_that_does_not_answer_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    plan = b'{"request_payer": true, "no_sign_request": false, "input": "s3://b/"}'
    run = PublishedRun.open(run_over(tmp_path, "run", [record("s3://b/a.png", etag="x")]))
    lineage = run.manifest.lineage.model_copy(update={"plan_sha256": hashlib.sha256(plan).hexdigest()})
    planned = dataclasses.replace(run, manifest=run.manifest.model_copy(update={"lineage": lineage}))
    with pytest.raises(AnnotationError, match=r"plan\.json: is missing: put the published file back"):
        planned.images()
    (tmp_path / "run/plan.json").write_bytes(plan)
    asked: dict[str, Any] = {}
    body = io.BytesIO(b"pixels")
    answer = {"Body": body, "ETag": 'W/"x-gzip"'}
    images = planned.images()
    client = SimpleNamespace(get_object=lambda **options: asked.update(options) or answer)
    monkeypatch.setattr(images, "_client", lambda: client)
    assert images.fetch("s3://b/a.png", "x", tmp_path / "cache").read_bytes() == b"pixels"
    assert asked == {"Bucket": "b", "Key": "a.png", "RequestPayer": "requester"}
    assert run.images() is run.objects
    with pytest.raises(ArchiveError, match=r"s3://b/r/manifest\.json: Could not connect.*check the name, the network"):
        PublishedRun.open("s3://b/r")


def test_a_download_that_breaks_off_is_tried_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Broken:
        def read(self) -> bytes:
            raise ConnectionResetError("reset")

    bodies: list[Any] = [Broken(), io.BytesIO(gzip.compress(b"pixels")), Broken(), Broken(), Broken()]
    objects = Objects()
    client = SimpleNamespace(get_object=lambda **_: {"Body": bodies.pop(0), "ETag": '"x"', "ContentEncoding": "gzip"})
    monkeypatch.setattr(objects, "_client", lambda: client)
    assert objects.fetch("s3://b/a.png", "x", tmp_path).read_bytes() == b"pixels"
    with pytest.raises(ArchiveError, match=r"s3://b/b\.png: reset"):
        objects.fetch("s3://b/b.png", "x", tmp_path)
    assert not bodies


def test_every_record_becomes_what_its_scores_say(tmp_path: Path) -> None:
    """Each box is an object, ignored, or dropped as background or as another reading; nothing else happens to it."""
    path = photos(tmp_path, "a.png")[0]

    @settings(max_examples=40, deadline=None, suppress_health_check=list(HealthCheck))
    @given(
        scores=st.lists(st.tuples(st.sampled_from(["cat", "dog"]), st.integers(1000, 10000)), max_size=6),
        least=st.integers(1000, 10000),
        lower=st.integers(0, 10000),
    )
    def check(scores: list[tuple[str, int]], least: int, lower: int) -> None:
        boxes: list[BoxRecord] = [box(label, s / 1e4, x=9 * n, width=8) for n, (label, s) in enumerate(scores)]
        run = run_over(tmp_path, "run", [record(path, *boxes)])
        (train,) = stated(format="manifests", runs=[run], min_score=least / 1e4, ignore_from=lower / 1e4).values()
        found = {row[1][0]: (row[0], row[2]) for row in objects(train.dataset)["photos/a.png"]}
        assert found == {
            9 * n: (label, s < least) for n, (label, s) in enumerate(scores) if s >= least or lower <= s < least
        }
        assert train.runs[0].boxes == sum(s >= least for _, s in scores)

    check()


def test_one_part_is_in_memory_at_a_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (one,) = photos(tmp_path, "a.png")
    run = PublishedRun.open(run_over(tmp_path, "run", [record(one)] * 6))
    read: list[str] = []
    before = PublishedRun._published
    monkeypatch.setattr(PublishedRun, "_published", lambda self, key, sha: read.append(key) or before(self, key, sha))
    records = run.records()
    for _ in range(3):
        next(records)
    assert read == ["boxes/part-0000000.jsonl", "boxes/part-0000001.jsonl"]
