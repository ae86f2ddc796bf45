"""`boxcar audit` from the draw to the verdict, with people who know the truth."""

from __future__ import annotations

import base64
import hashlib
import io
import json
import re
import shutil
from pathlib import Path
from typing import Any

import jsonschema
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from jobs.cli import main
from jobs.formats import Audit, BoxVerdict, Record, Sample, Verdicts, read, sha256
from jobs.schema import json_schema
from tests.jobs.helpers import Boxcar, records_of, write_photos
from tests.support.sources import objects, stated
from tests.support.verdicts import Known, judge_image, verdicts

PHOTOS = 40
EVIL = "</script><script>alert('1')\n.png"


@pytest.fixture(scope="module")
def world(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """photos/, of which one has an evil name; run/, over them; audit/, all of it: the draw depends on the paths, and
    these are new in every test run, but a census says the truth exactly. Not to be changed."""
    folder = tmp_path_factory.mktemp("audit")
    photos = write_photos(folder / "photos", PHOTOS)
    evil = photos / EVIL
    evil.parent.mkdir(parents=True)
    shutil.copy(photos / "0001.png", evil)
    for arguments in (
        ["run", photos, folder / "run", "--model", artifact, "--min-score", 0.2, "--part-size", 30],
        ["audit", "draw", folder / "run", "--count", 10_000, "--images", PHOTOS + 1, "--out", folder / "audit"],
    ):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
    return folder


def _truth(records: list[Record]) -> dict[str, list[Known]]:
    """Most boxes are right: every fifth is on nothing, and every third image has one more object."""
    found = {}
    number = 0
    for place, record in enumerate(records):
        objects = []
        for box in record.boxes:
            number += 1
            if number % 5:
                objects.append(Known(box.label, (box.x, box.y, box.width, box.height)))
        if place % 3 == 0:
            objects.append(Known("cat", (0.0, 0.0, 1.5, 1.5)))
        found[record.image] = objects
    return found


def _said(world: Path, drawn: Path | None = None) -> Verdicts:
    """What somebody says who knows the truth about a sample; drawn: its folder, by default that of the census."""
    sample = read(Sample, ((drawn or world / "audit") / "sample.json").read_bytes())
    records = records_of(world / "run")
    return verdicts(sample, records, _truth(records), "Ana")


@pytest.fixture
def run(world: Path, tmp_path: Path) -> Path:
    """A copy of the run."""
    return Path(shutil.copytree(world / "run", tmp_path / "run"))


def _write(file: Path, said: Verdicts) -> Path:
    file.write_bytes(said.canonical())
    return file


def _audit(run: Path) -> Audit:
    return read(Audit, (run / "quality/audit.json").read_bytes())


def test_from_the_draw_to_the_gate(boxcar: Boxcar, world: Path, run: Path, tmp_path: Path) -> None:
    before = {path.name: path.read_bytes() for path in (run / "manifest.json", run / "quality/validation.json")}
    assert "not audited" in boxcar("audit", "status", run, code=4).stderr
    said = _said(world)
    file = _write(tmp_path / "ana.json", said)
    done = boxcar("audit", "judge", run, file, "--precision", 0.6, "--reject-below", 0.5, "--corrected", tmp_path / "c")
    audit = _audit(run)
    assert audit.status == "accepted" and audit.manifest_sha256 == sha256(before["manifest.json"])
    assert audit.sample_sha256 == hashlib.sha256((world / "audit/sample.json").read_bytes()).hexdigest()
    assert audit.reviewers[0].sha256 == sha256(file.read_bytes()) and audit.agreement is None

    # The statements are about the whole run, whose truth is known here.
    records = records_of(run)
    truth = _truth(records)
    judged = {record.image: judge_image(record, truth[record.image], set(said.sample.labels)) for record in records}
    right = [one.verdict == "right" for boxes, _ in judged.values() for one in boxes]
    every = audit.precision[0]
    assert every.label is None and every.boxes == every.drawn == sum(every.verdicts.values()) == len(right)
    assert every.low == every.high == np.mean(right)
    assert {one.min_score for one in audit.precision} == {0.2, 0.3}  # also from the operating score on
    missed = audit.missed[0]
    with_missed = sum(bool(left) for _, left in judged.values())
    assert missed.low == missed.high == with_missed / len(records) and missed.drawn == PHOTOS + 1
    count = audit.counts[0]
    assert count.low is not None and count.high is not None and count.reason is None
    assert count.low == sum(map(len, truth.values())) == count.high
    assert all(one.reason is None for one in audit.counts)
    (together, *_) = audit.thresholds
    assert together.score is not None and together.boxes > 0
    for text in ("Right boxes", "Scores to trust", "Missed objects", "How many objects", "accepted"):
        assert text in done.stdout
    report = (run / "report.html").read_text()
    assert 'id="audit"' in report and "Ana looked at a random sample" in report

    # What was published stays, and the run stays whole.
    assert before == {path.name: path.read_bytes() for path in (run / "manifest.json", run / "quality/validation.json")}
    boxcar("verify", run)
    boxcar("finish", run)
    boxcar("report", run)
    assert 'id="audit"' in (run / "report.html").read_text()
    assert "accepted" in boxcar("audit", "status", run).stdout
    for kind, data in (("Audit", (run / "quality/audit.json").read_bytes()), ("Verdicts", file.read_bytes())):
        schema = {"$ref": f"#/$defs/{kind}", "$defs": json_schema()["$defs"]}
        jsonschema.Draft202012Validator(schema).validate(json.loads(data))

    # Whole images become labels: with what was missed, without what is not there.
    (coco,) = (json.loads(path.read_bytes()) for path in (tmp_path / "c").glob("*.json"))
    assert len(coco["images"]) == PHOTOS + 1
    names = {image["id"]: image["coco_url"] for image in coco["images"]}
    for image in coco["images"]:
        assert (tmp_path / "c/images" / image["file_name"]).read_bytes() == Path(image["coco_url"]).read_bytes()
    for image, uri in names.items():
        boxes = [tuple(one["bbox"]) for one in coco["annotations"] if one["image_id"] == image]
        assert sorted(boxes) == sorted(known.box for known in truth[uri])
    (labels,) = (tmp_path / "c").glob("*.json")
    files = {"train": {"annotations": str(labels), "images": str(tmp_path / "c/images")}}
    corrections = [{"format": "coco", "splits": files}]
    (train,) = stated(format="manifests", runs=[str(run)], corrections=corrections).values()
    assert len(train.checked) == len(train.files) == PHOTOS + 1
    assert sum(map(len, objects(train.dataset).values())) == sum(map(len, truth.values()))

    assert "not shown to have 99.0%" in boxcar("audit", "judge", run, file, "--reject-below", 0.99, code=3).stderr
    assert _audit(run).status == "rejected"
    assert "rejected by its audit" in boxcar("audit", "status", run, code=3).stderr
    # An audit of another manifest says nothing about this one.
    boxcar("audit", "judge", run, file)
    manifest = run / "manifest.json"
    manifest.write_bytes(manifest.read_bytes().replace(b'"hidden": 0', b'"hidden": 1'))
    assert "not audited" in boxcar("audit", "status", run, code=4).stderr
    assert "the verdicts are about another run" in boxcar("audit", "judge", run, file, code=2).stderr


def _with(said: Verdicts, verdict: str, share: float, reviewer: str) -> Verdicts:
    """The same verdicts, but another one about some of the boxes."""
    change = int(1 / share)
    boxes = [
        BoxVerdict.model_validate(one.model_dump() | {"verdict": verdict, "label": None}) if n % change == 0 else one
        for n, one in enumerate(said.boxes)
    ]
    return said.model_copy(update={"boxes": boxes, "reviewer": reviewer})


def test_doubt_and_disagreement_and_silence_widen_both_ends(
    boxcar: Boxcar, world: Path, run: Path, tmp_path: Path
) -> None:
    said = _said(world)
    ana = _write(tmp_path / "ana.json", said)
    boxcar("audit", "judge", run, ana)
    clear = _audit(run).precision[0]
    ben = _write(tmp_path / "ben.json", _with(said, "not_an_object", 0.25, "Ben"))
    boxcar("audit", "judge", run, ana, ben)
    both = _audit(run)
    assert both.agreement is not None and 0.6 < both.agreement.share < 1 and both.agreement.alpha is not None
    unsure = _write(tmp_path / "unsure.json", _with(said, "cannot_tell", 0.25, "Cem"))
    boxcar("audit", "judge", run, unsure)
    doubt = _audit(run)
    silent = said.model_copy(update={"boxes": said.boxes[: len(said.boxes) // 2], "images": said.images[:20]})
    boxcar("audit", "judge", run, _write(tmp_path / "silent.json", silent))
    less = _audit(run)
    for other in (both, doubt, less):
        assert other.precision[0].low < clear.low and clear.high < other.precision[0].high
    assert less.precision[0].verdicts["not_judged"] > 0
    assert less.missed[0].unclear == 21 and less.missed[0].high - less.missed[0].low == pytest.approx(21 / 41)
    assert less.counts[0].reason == "21 of 41 images are not judged, or not clear"
    boxcar("audit", "draw", run, "--count", 9, "--images", 9, "--labels", "cat, dog", "--out", tmp_path / "few")
    boxcar("audit", "judge", run, _write(tmp_path / "few.json", _said(world, tmp_path / "few")))
    few = _audit(run)
    assert few.labels == ["cat", "dog"] and few.precision[0].drawn == 9
    assert few.counts[0].reason is not None and few.counts[0].reason.startswith("too few to say: errors in ")


def _data(page: Path) -> dict[str, Any]:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    assert found is not None
    data: dict[str, Any] = json.loads(found[1])
    return data


def test_the_page_has_every_look_and_nothing_else_to_load(world: Path) -> None:
    page = world / "audit/audit.html"
    text, data = page.read_text(), _data(page)
    assert "alert('1')" not in text and "http" not in text.replace("http://www.w3.org/2000/svg", "").replace(
        "http-equiv", ""
    )
    sample = read(Sample, (world / "audit/sample.json").read_bytes())
    assert read(Sample, data["sample"].encode()) == sample and data["digest"] == sha256(sample.pretty())
    assert [(one["image"], one["number"]) for one in data["boxes"]] == [(one.image, one.number) for one in sample.boxes]
    assert any(EVIL in one["image"] for one in data["boxes"] + data["wholes"])
    for one in data["boxes"] + data["wholes"]:
        x, y, width, height = one["area"]
        with Image.open(io.BytesIO(base64.b64decode(one["picture"].partition(",")[2]))) as image:
            assert abs(image.width - width) <= 1.5 and abs(image.height - height) <= 1.5
    for one in data["boxes"]:
        left, top, wide, high = one["box"]
        x, y, width, height = one["area"]
        assert x <= left and y <= top and left + wide <= x + width and top + high <= y + height


def test_images_that_are_gone_are_not_shown_and_count_as_not_judged(
    boxcar: Boxcar, world: Path, run: Path, tmp_path: Path
) -> None:
    names = ("0001.png", "0002.png")
    for name in names:
        (world / "photos" / name).rename(tmp_path / name)
    try:
        made = boxcar("audit", "draw", run, "--count", 10_000, "--images", 41, "--out", tmp_path / "audit")
    finally:
        for name in names:
            (tmp_path / name).rename(world / "photos" / name)
    assert "warning: there are only" in made.stderr and "missing" in made.stdout
    sample = read(Sample, (tmp_path / "audit/sample.json").read_bytes())
    gone = [image.image for image in sample.images if image.left_out == "missing"]
    assert sorted(Path(image).name for image in gone) == sorted(names)
    data = _data(tmp_path / "audit/audit.html")
    assert {one["image"] for one in data["wholes"]} == {image.image for image in sample.images} - set(gone)
    assert sum(one.left_out == "missing" for one in sample.boxes) == len(sample.boxes) - len(data["boxes"]) > 0
    records = [record for record in records_of(run) if record.image not in gone]
    file = _write(tmp_path / "a.json", verdicts(sample, records, _truth(records)))
    boxcar("audit", "judge", run, file)
    audit = _audit(run)
    assert audit.precision[0].verdicts["not_judged"] == len(sample.boxes) - len(data["boxes"])
    assert audit.missed[0].unclear == 2


def test_refusals(boxcar: Boxcar, world: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, draw = world / "run", ("audit", "draw", world / "run")
    (tmp_path / "empty").mkdir()
    file = _write(tmp_path / "a.json", _said(world))
    sample = read(Sample, (world / "audit/sample.json").read_bytes())
    strata = [one.model_copy(update={"boxes": one.boxes + 1}) for one in sample.box_strata]
    other = _said(world).model_copy(update={"sample": sample.model_copy(update={"box_strata": strata})})
    more = BoxVerdict(image=sample.images[0].image, number=99, verdict="right")
    beyond = _said(world).model_copy(update={"boxes": [more]})
    for arguments, reason in (
        ((*draw, "--count", 0), "Invalid value for '--count'"),
        ((*draw, "--images", -1), "Invalid value for '--images'"),
        ((*draw, "--labels", "horse"), "--labels horse: not a label of this run"),
        ((*draw, "--out", "s3://boxes/"), "give a folder of this machine"),
        ((*draw, "--out", world / "audit"), "holds an earlier sample"),
        (("audit", "draw", tmp_path / "empty"), "no published run here"),
        (("audit", "status", tmp_path / "empty"), "no published run here"),
        (("audit", "judge", run), "Missing argument 'VERDICTS...'"),
        (("audit", "judge", run, tmp_path / "none.json"), "cannot be read"),
        (("audit", "judge", run, file, "--precision", 1), "not in the range 0<x<1"),
        (("audit", "judge", run, file, "--reject-below", "nan"), "nan is not a number"),
        (("audit", "judge", run, file, "--corrected", "s3://x/"), "give a folder of this machine"),
        (("audit", "judge", run, _write(tmp_path / "b.json", other)), "does not have what was sampled from it"),
        (("audit", "judge", run, _write(tmp_path / "c.json", beyond)), "has no box 99 to judge"),
    ):
        out = () if "draw" not in arguments or "--out" in arguments else ("--out", tmp_path / "refused")
        assert reason in boxcar(*arguments, *out, code=2).stderr, arguments
    monkeypatch.setattr("jobs.rules.review.missing_package", lambda: "great_expectations")
    for arguments in ((*draw, "--out", tmp_path / "refused"), ("audit", "judge", run, file)):
        assert "pip install '.[quality]'" in boxcar(*arguments, code=2).stderr
    assert not (tmp_path / "refused").exists() and not (run / "quality/audit.json").exists()
