"""`boxcar sample`: what it draws, what it writes, and what it refuses."""

from __future__ import annotations

import dataclasses
import json
import math
import os
import shutil
import zipfile
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import click
import pytest
from click.testing import CliRunner

from jobs.cli import main
from jobs.errors import UsageError
from jobs.formats import BoxRecord, Sample, read, sha256
from jobs.published_run import BaselineCounts, PublishedRun
from jobs.sampling import WAYS, EarlierRound, SampledRun, draw_sample
from jobs.sampling.drift import UNMOVED
from jobs.sampling.strata import FAR, NEAR, NOTHING
from tests.conftest import Bucket
from tests.jobs.helpers import Boxcar, encoded, records_of, write_photos
from tests.jobs.sampling.listed import box, listed

PHOTOS = 20


@pytest.fixture(scope="module")
def world(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with photos/ and run/, a run over them in which one image failed. Not to be changed by a test."""
    folder = tmp_path_factory.mktemp("sampling")
    photos = write_photos(folder / "photos", PHOTOS)
    (photos / "=1+1, 'ü'\n.png").write_bytes(encoded(50))
    (photos / "sub/0000.jpg").write_bytes(encoded(51, format="JPEG"))  # its name without extension is taken
    (photos / "broken.png").write_bytes(b"no picture")
    arguments = ["run", photos, folder / "run", "--model", artifact, "--part-size", 6, "--max-failed", 0.5]
    result = CliRunner().invoke(main, [str(argument) for argument in arguments])
    assert result.exit_code == 0, result.output
    return folder


def _read(folder: Path) -> Sample:
    return read(Sample, (folder / "sample.json").read_bytes())


def _images(sample: Sample) -> list[str]:
    return [image.image for image in sample.images]


def test_three_rounds_draw_every_image_once_and_say_what_they_are(boxcar: Boxcar, world: Path, tmp_path: Path) -> None:
    earlier: list[Any] = []
    rounds = []
    for number, by in enumerate(("random", "doubtful", "label")):
        folder = tmp_path / str(number)
        made = boxcar("sample", world / "run", "--count", 9, "--by", by, "--to", "cvat", "--out", folder, *earlier)
        rounds.append(_read(folder))
        assert ("only 4 images were left" in made.stderr) == (number == 2)
        earlier += ["--earlier", folder / "sample.json"]
    ok = [record.image for record in records_of(world / "run") if record.status == "ok"]
    assert sorted(image for sample in rounds for image in _images(sample)) == sorted(ok)
    assert [(len(sample.images), sample.excluded) for sample in rounds] == [(9, 0), (9, 9), (4, 18)]
    assert [sample.for_estimates for sample in rounds] == [True, False, False]
    first, _, last = rounds
    assert first.manifest_sha256 == sha256((world / "run/manifest.json").read_bytes())
    assert {image.probability for image in first.images} == {9 / 22}
    assert {image.probability for image in last.images} == {1.0}
    assert [before.sha256 for before in last.earlier] == [
        sha256((tmp_path / f"{number}/sample.json").read_bytes()) for number in (0, 1)
    ]
    for sample in rounds:
        assert sum(stratum.images for stratum in sample.strata) == 22 - sample.excluded
        for stratum in sample.strata:
            drawn = [image for image in sample.images if image.stratum == stratum.name]
            assert len(drawn) == stratum.drawn
            assert all(image.probability == stratum.drawn / stratum.images for image in drawn)
    error = boxcar("sample", world / "run", "--to", "cvat", "--out", tmp_path / "4", *earlier, code=2).stderr
    assert "no image is left to draw: 22 are ok" in error
    assert (
        "give that sample.json with --earlier too"
        in boxcar("sample", world / "run", "--to", "cvat", "--out", tmp_path / "4", *earlier[2:], code=2).stderr
    )
    assert not (tmp_path / "4").exists()


@pytest.mark.parametrize("to", ["labelstudio", "cvat", "coco", "yolo", "voc"])
def test_equal_draws_give_equal_files_with_the_drawn_images_alone(
    boxcar: Boxcar, world: Path, tmp_path: Path, to: str
) -> None:
    for name in ("one", "two"):
        boxcar("sample", world / "run", "--count", 6, "--seed", 5, "--to", to, "--out", tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == sorted(path.name for path in (tmp_path / "two").iterdir()) and "sample.json" in files
    for name in files:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    sample = _read(tmp_path / "one")
    assert len(sample.images) == 6
    assert _images(sample) == sorted(_images(sample), key=str.encode)
    stem = tmp_path / "one" / sample.run
    if to == "labelstudio":
        tasks = json.loads(stem.with_suffix(".labelstudio.json").read_bytes())
        assert [task["data"]["etag"] for task in tasks] == [image.etag for image in sample.images]
    elif to == "coco":
        dataset = json.loads(stem.with_suffix(".coco.json").read_bytes())
        assert [image["coco_url"] for image in dataset["images"]] == _images(sample)
    elif to == "cvat":
        text = stem.with_suffix(".cvat.xml").read_text()
        assert text.count("<image ") == 6 and "<size>6</size>" in text
    else:
        with zipfile.ZipFile(stem.with_suffix(f".{to}.zip")) as found:
            labels = [name for name in found.namelist() if name.startswith(("labels/", "Annotations/"))]
        assert len(labels) == 6
    other = boxcar("sample", world / "run", "--count", 6, "--to", to, "--out", tmp_path / "other")
    assert "6 of 22" in other.stdout and _images(_read(tmp_path / "other")) != _images(sample)


def test_a_changed_or_missing_image_is_left_out_of_images_and_labels(
    boxcar: Boxcar, artifact: Path, world: Path, tmp_path: Path
) -> None:
    photos = Path(shutil.copytree(world / "photos", tmp_path / "photos"))
    boxcar("run", photos, tmp_path / "run", "--model", artifact, "--max-failed", 0.5)
    (photos / "0001.png").write_bytes(encoded(99))
    (photos / "sub/0000.jpg").unlink()
    hidden = photos / "0002.png"  # neither its size nor its time tells that it has changed
    there = hidden.stat()
    hidden.write_bytes(hidden.read_bytes()[:-1] + b"x")
    os.utime(hidden, ns=(there.st_atime_ns, there.st_mtime_ns))
    made = boxcar("sample", tmp_path / "run", "--to", "yolo", "--copy-images", "--out", tmp_path / "out")
    assert "3 (2 changed, 1 missing)" in made.stdout
    sample = _read(tmp_path / "out")
    left_out = {Path(image.image).name: image.left_out for image in sample.images if image.left_out}
    assert left_out == {"0001.png": "changed", "0002.png": "changed", "0000.jpg": "missing"}
    assert len(sample.images) == 22
    assert all(image.probability == 1 for image in sample.images) and sample.for_estimates
    copies = {path.relative_to(tmp_path / "out/images").as_posix(): path for path in _files(tmp_path / "out/images")}
    with zipfile.ZipFile(tmp_path / f"out/{sample.run}.yolo.zip") as found:
        labels = {name.removeprefix("labels/")[:-4] for name in found.namelist() if name.startswith("labels/")}
    assert labels == {name.rpartition(".")[0] for name in copies} and len(copies) == 19
    # The name is free for the PNG file, because the JPEG file is gone.
    assert copies["sub/0000.png"].read_bytes() == (photos / "sub/0000.png").read_bytes()
    error = boxcar("sample", tmp_path / "run", "--to", "voc", "--copy-images", "--out", photos / "x", code=2).stderr
    assert "lies in INPUT" in error and not (photos / "x").exists()


def test_in_a_bucket(boxcar: Boxcar, artifact: Path, bucket: Bucket, tmp_path: Path) -> None:
    bucket.upload(write_photos(tmp_path / "photos", 4), "in")
    boxcar("run", f"{bucket.uri}/in", f"{bucket.uri}/out", "--model", artifact)
    bucket.put("in/0001.png", encoded(99))
    made = boxcar("sample", f"{bucket.uri}/out", "--to", "labelstudio", "--copy-images", "--out", tmp_path / "made")
    assert "1 (1 changed)" in made.stdout
    sample = _read(tmp_path / "made")
    (tasks,) = (tmp_path / "made").glob("*.labelstudio.json")
    kept = [image.image for image in sample.images if image.left_out is None]
    assert kept == [task["data"]["image"] for task in json.loads(tasks.read_bytes())]
    for image in kept:
        key = image.removeprefix(f"{bucket.uri}/in/")
        assert (tmp_path / "made/images" / key).read_bytes() == (tmp_path / "photos" / key).read_bytes()
    assert len(kept) == 3


def _files(folder: Path) -> Iterable[Path]:
    return (path for path in folder.rglob("*") if path.is_file())


def test_refusals(boxcar: Boxcar, world: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "other.json").write_text("{}")
    boxcar("sample", world / "run", "--to", "voc", "--out", tmp_path / "one")
    written = (tmp_path / "one/sample.json").read_bytes()
    (tmp_path / "far.json").write_bytes(_read(tmp_path / "one").model_copy(update={"input": "s3://else/"}).pretty())
    (tmp_path / "newer.json").write_bytes(written.replace(b'"schema": 1', b'"schema": 2'))
    run, to = world / "run", ("--to", "voc")
    for arguments, reason in (
        ((tmp_path / "empty", *to), "no published run here"),
        ((run,), "Missing option '--to'"),
        ((run, "--to", "csv"), "Invalid value for '--to'"),
        ((run, *to, "--by", "drifting"), "Invalid value for '--by'"),
        ((run, *to, "--by", "drift"), "--by drift: the artifact has no baseline"),
        ((run, *to, "--by", "drift", "--reference", run), "are too few to compare, 200 are needed"),
        ((run, *to, "--by", "drift", "--reference", tmp_path / "empty"), "no published run here"),
        ((run, *to, "--reference", run), "--reference is that of --by drift"),
        ((run, *to, "--count", 0), "Invalid value for '--count'"),
        ((run, *to, "--out", "s3://boxes/"), "give a folder of this machine"),
        ((run, *to, "--out", tmp_path / "one"), "holds an earlier sample"),
        ((run, *to, "--earlier", tmp_path / "none.json"), "cannot be read"),
        ((run, *to, "--earlier", tmp_path / "other.json"), "not a sample.json"),
        ((run, *to, "--earlier", tmp_path / "newer.json"), "use a newer boxcar"),
        ((run, *to, "--earlier", tmp_path / "far.json"), "is of images in s3://else/"),
    ):
        out = () if "--out" in arguments else ("--out", tmp_path / "refused")
        assert reason in boxcar("sample", *arguments, *out, code=2).stderr, arguments
    assert not (tmp_path / "refused").exists()
    assert (tmp_path / "one/sample.json").read_bytes() == written


def test_the_command_and_the_schema_name_every_way_to_draw() -> None:
    (option,) = (option for option in main.commands["sample"].params if option.name == "by")
    assert isinstance(option.type, click.Choice) and list(option.type.choices) == list(WAYS)
    assert Sample.model_json_schema()["properties"]["by"]["enum"] == list(WAYS)


def test_strata_by_label_and_by_doubt(world: Path) -> None:
    cat, dog = box("cat", 0.9), box("dog", 0.4)
    run = listed(world / "run", [[dog]] * 60 + [[dog, cat]] * 6 + [[cat]] * 6 + [[]] * 8)
    by_label = draw_sample(run, 20, "label", 0)
    assert {s.name: (s.images, s.drawn) for s in by_label.strata} == {
        "label cat": (12, 3), "label dog": (60, 15), NOTHING: (8, 2),
    }  # fmt: skip
    # The operating score is .3: .4 is near it and .9 is not. The best score of a dog and a cat is that of the cat.
    by_doubt = {s.name: s for s in draw_sample(run, 20, "doubtful", 0).strata}
    assert {name: stratum.images for name, stratum in by_doubt.items()} == {NEAR: 60, FAR: 12, NOTHING: 8}
    assert all(stratum.drawn >= 1 for stratum in by_doubt.values())
    assert by_doubt[NEAR].drawn / 60 > by_doubt[FAR].drawn / 12
    few = draw_sample(run, 2, "label", 0)
    assert not few.for_estimates and sorted(stratum.drawn for stratum in few.strata) == [0, 1, 1]


def _mixed(cats: int, dogs: int, sure: int = 0) -> list[list[BoxRecord]]:
    """An image for each box, 20 without any, and 20 whose boxes are below the first whole tenth of the scores."""
    some = [[box("cat", 0.55)]] * cats + [[box("dog", 0.55)]] * dogs + [[box("tree", 0.95)]] * sure
    return some + [[]] * 20 + [[box("dog", 0.15)]] * 20


def test_strata_by_drift_prefer_what_has_moved_most(world: Path) -> None:
    """Against a run before, and against the same counts as a baseline: 300 boxes of which cats were a third."""
    before = listed(world / "run", _mixed(100, 200))
    tenth = {"cat": [0] * 5 + [100] + [0] * 4, "dog": [0, 20, 0, 0, 0, 200, 0, 0, 0, 0]}
    made = {"min_score": 0.12}
    run = listed(world / "run", _mixed(250, 140, sure=10))
    run = dataclasses.replace(run, manifest=run.manifest.model_copy(update=made))
    by_run = draw_sample(run, 100, "drift", 1, reference=before)
    based = dataclasses.replace(run, counted=BaselineCounts(images=320, boxes=tenth))
    by_baseline = draw_sample(based, 100, "drift", 1)
    assert by_baseline.images == by_run.images and by_baseline.strata == by_run.strata
    assert (by_run.reference, by_baseline.reference) == (before.digest, None) and by_run.for_estimates
    strata = {stratum.name: stratum for stratum in by_run.strata}
    assert {name: stratum.images for name, stratum in strata.items()} == {
        "label cat: 62.5 % of the boxes, 33.3 % in the reference": 250,
        "label dog: 35.0 % of the boxes, 66.7 % in the reference": 140,
        "label tree: 2.5 % of the boxes, 0.0 % in the reference": 10,
        NOTHING: 20,
        UNMOVED: 20,
    }
    share = {name.split(":")[0]: stratum.drawn / stratum.images for name, stratum in strata.items()}
    assert share["label dog"] > share["label cat"] > 1.5 * share[NOTHING] == 1.5 * share[UNMOVED] > 0
    for image in by_run.images:
        assert image.probability == strata[image.stratum].drawn / strata[image.stratum].images
    equal = draw_sample(before, 40, "drift", 1, reference=before)
    assert {stratum.name for stratum in equal.strata} == {UNMOVED, NOTHING}


@pytest.mark.parametrize(("cats", "dogs", "sure"), [(180, 80, 0), (10, 400, 3), (250, 1, 1), (100, 200, 100)])
def test_the_probabilities_of_a_draw_by_drift_add_up_to_the_run(world: Path, cats: int, dogs: int, sure: int) -> None:
    """Horvitz and Thompson's estimate of the number of images of each stratum has no error, whatever was drawn."""
    before, run = listed(world / "run", _mixed(50, 200)), listed(world / "run", _mixed(cats, dogs, sure))
    for seed in range(3):
        sample = draw_sample(run, 30, "drift", seed, reference=before)
        assert len(sample.images) == 30 and sample.for_estimates
        for stratum in sample.strata:
            own = [image.probability for image in sample.images if image.stratum == stratum.name]
            assert len(own) == stratum.drawn > 0
            assert sum(1 / probability for probability in own) == pytest.approx(stratum.images)
        assert sum(stratum.images for stratum in sample.strata) == sample.population == len(run.listed)
        assert draw_sample(run, 30, "drift", seed, reference=before) == sample
    few = draw_sample(run, 1, "drift", 0, reference=before)
    assert not few.for_estimates


def test_runs_that_cannot_be_compared_are_refused(world: Path) -> None:
    run = listed(world / "run", _mixed(180, 80))
    tiled = dataclasses.replace(run, manifest=run.manifest.model_copy(update={"tile": 640}))
    high = dataclasses.replace(run, manifest=run.manifest.model_copy(update={"min_score": 0.95}))
    based = dataclasses.replace(tiled, counted=BaselineCounts(images=9, boxes={"cat": [100] * 10}))
    for wanted, reference, reason in (
        (run, tiled, "made by another artifact or with other tiles"),
        (high, run, r"no whole tenth of the scores from 0\.95 on"),
        (based, None, "measured without tiles"),
    ):
        with pytest.raises(UsageError, match=reason):
            draw_sample(wanted, 10, "drift", 0, reference=reference)


def test_a_second_round_with_the_same_seed_is_a_fair_draw_of_what_is_left(world: Path) -> None:
    """The first round takes most doubtful images; a draw by the same ranks would hardly find the others of them."""
    run = listed(world / "run", [[box("cat", 0.3)]] * 30 + [[box("cat", 0.9)]] * 30)
    left, drawn, rounds, variance = 0.0, 0, 300, 0.0
    for seed in range(rounds):
        first = draw_sample(run, 25, "doubtful", seed)
        before = EarlierRound(first, sha256(first.pretty()))
        near = {record.image for record in run.listed[:30]}
        remain = len(near.difference(_images(first)))
        second = draw_sample(run, 10, "random", seed, [before])
        assert not set(_images(first)) & set(_images(second))
        share = remain / 35
        left += 10 * share
        variance += 10 * share * (1 - share) * (35 - 10) / (35 - 1)  # of the hypergeometric distribution
        drawn += len(near.intersection(_images(second)))
    assert abs(drawn - left) < 4.5 * math.sqrt(variance)


def test_a_new_version_of_an_image_may_be_drawn_again(world: Path) -> None:
    run = listed(world / "run", [[]] * 5)
    first = draw_sample(run, 5, "random", 0)
    changed = dataclasses.replace(run, listed=(run.listed[0].model_copy(update={"etag": "new"}), *run.listed[1:]))
    second = draw_sample(changed, 5, "random", 0, [EarlierRound(first, sha256(first.pretty()))])
    assert [(image.image, image.etag) for image in second.images] == [(run.listed[0].image, "new")]
    assert second.excluded == 4


def test_a_sampled_run_counts_its_images(world: Path) -> None:
    run = PublishedRun.open(str(world / "run"))
    seen = SampledRun.of(run, draw_sample(run, 7, "random", 3))
    assert len(list(seen.records())) == seen.manifest.images == seen.manifest.statuses["ok"] == 7
    assert seen.labels() == run.labels()
