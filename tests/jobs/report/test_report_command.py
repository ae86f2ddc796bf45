"""`boxcar report`: a page of every complete run, whatever has become of its images."""

from __future__ import annotations

import json
import re
from functools import partial
from pathlib import Path

import pytest

from jobs.errors import ItemError, StorageError
from jobs.formats import Validation, sha256
from jobs.page_images import PageImages
from jobs.parts import WholePart, find_parts
from jobs.plan import require_plan
from jobs.report import Samples, render
from jobs.storage import Content, Entry, FolderStore, open_store
from jobs.tally import Tally
from tests.conftest import Bucket
from tests.jobs.helpers import Boxcar, records_of, write_photos
from tests.jobs.report.conftest import judged, plan_of, rule


def _page(output: Path) -> str:
    return (output / "report.html").read_text("utf-8")


def test_the_page_has_the_run_its_numbers_and_its_pictures(boxcar: Boxcar, worked: Path) -> None:
    printed = boxcar("report", worked).stdout
    assert f"{worked}/report.html" in printed and "valid" in printed
    page, plan = _page(worked), plan_of(worked)
    for text in (plan.run, plan.digest, plan.artifact_sha256, "d" * 64, "0" * 40, "not published"):
        assert text in page
    assert page.count("<figure id=") == 9 and page.count("data:image/jpeg") == 7
    assert "no bytes" in page and "not an image, or damaged" in page


def test_the_page_is_the_same_again(boxcar: Boxcar, worked: Path) -> None:
    boxcar("report", worked)
    first = _page(worked)
    boxcar("report", worked)
    assert _page(worked) == first


def test_examples_of_broken_rules_are_shown_and_linked(boxcar: Boxcar, worked: Path) -> None:
    images = [record.image for record in records_of(worked)]
    judged(
        worked, rule("drift", "warned", [images[1], "/elsewhere/unplanned.jpg"]), rule("fine", "passed", [images[0]])
    )
    boxcar("report", worked)
    page = _page(worked)
    link = re.search(rf'<a href="#(image-\d+)">{re.escape(images[1])}</a>', page)
    figure = page.partition(f'id="{link[1]}"')[2].partition("</figure>")[0] if link else ""
    assert "breaks drift" in figure and "score near .5: " in figure and figure.count(" marked") == 1
    assert "<li><bdi>/elsewhere/unplanned.jpg</bdi></li>" in page
    assert 'value="rules"' in page and "breaks fine" not in page


def test_an_image_outside_the_sample_is_looked_up_for_a_rule(
    boxcar: Boxcar, worked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("A_LABEL", "DOUBTFUL", "A_STATUS"):
        monkeypatch.setattr(f"jobs.report.samples.{name}", 1)
    boxcar("report", worked)
    without = _page(worked).count("<figure id=")
    images = [record.image for record in records_of(worked)]
    judged(worked, rule("all", "rejected", images))
    boxcar("report", worked)
    assert without < _page(worked).count("<figure id=") == 9


def test_images_that_are_gone_or_changed_leave_a_word(boxcar: Boxcar, worked: Path, tmp_path: Path) -> None:
    (tmp_path / "photos/0001.png").unlink()
    (tmp_path / "photos/0002.png").write_bytes(b"another image")
    boxcar("report", worked)
    page = _page(worked)
    assert page.count("data:image/jpeg") == 5
    assert "no such image any more" in page and "not the version that was planned" in page
    assert "2 images are missing" in page


def test_a_run_in_a_bucket_has_its_report_there(boxcar: Boxcar, bucket: Bucket, artifact: Path, tmp_path: Path) -> None:
    bucket.upload(write_photos(tmp_path / "photos", 4), "photos")
    output = f"{bucket.uri}/run"
    boxcar("plan", f"{bucket.uri}/photos", output, "--model", artifact)
    boxcar("work", output)
    store = open_store(output)
    validation = Validation(run=require_plan(store).run, status="valid", max_failed=0.1, rules=[rule("complete")])
    store.write("quality/validation.json", validation.pretty())
    bucket.delete("photos/0001.png")
    assert f"{output}/report.html" in boxcar("report", output).stdout
    page = (store.read("report.html") or b"").decode()
    assert page.count("data:image/jpeg") == 3 and page.count("no such image any more") == 1


def test_a_storage_that_fails_is_asked_once_and_named_on_the_page(
    boxcar: Boxcar, worked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def broken(_store: FolderStore, entry: Entry) -> Content:
        asked.append(entry.key)
        raise StorageError("the disk <b>burns</b>")

    monkeypatch.setattr(FolderStore, "fetch", broken)
    monkeypatch.setattr("jobs.page_images.THREADS", 1)
    boxcar("report", worked)
    page = _page(worked)
    assert len(asked) == 1 and "data:image/jpeg" not in page
    assert "the disk &lt;b&gt;burns&lt;/b&gt;" in page and page.count("storage cannot be read") >= 7


def test_a_role_that_may_not_read_images_still_reports(
    boxcar: Boxcar, worked: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def forbidden(_store: FolderStore, _entry: Entry) -> Content:
        raise ItemError("forbidden")

    monkeypatch.setattr(FolderStore, "fetch", forbidden)
    boxcar("report", worked)
    assert _page(worked).count("access denied") >= 7


def test_an_input_that_cannot_be_opened_is_named_on_the_page() -> None:
    source = PageImages(partial(open_store, "gopher://photos/"))
    assert "gopher" in str(source.trouble) and source.make([]) == []


def test_a_published_run_shows_what_it_took(boxcar: Boxcar, worked: Path) -> None:
    plan = plan_of(worked)
    manifest = {
        "schema": 1, "validation_sha256": sha256((worked / "quality/validation.json").read_bytes()),
        "run": plan.run, "status": "valid", "planned_at": plan.planned_at,
        "published_at": "2026-01-02T03:04:05+00:00", "input": plan.input, "images": 9, "statuses": {}, "boxes": {},
        "min_score": 0.05, "max_failed": 0.1, "parts": [], "cost": {"cpu_seconds": 90.0, "bytes_read": 1_234_567},
        "lineage": {
            "plan_digest": plan.digest, "artifact_name": "x", "artifact_sha256": "x", "onnx_sha256": "x",
            "git_revision": None, "data_digest": "x", "params_digest": "x", "boxcar": None, "onnxruntime": ["1.2.3"],
        },
    }  # fmt: skip
    (worked / "manifest.json").write_text(json.dumps(manifest))
    boxcar("report", worked)
    page = _page(worked)
    assert "published 2026-01-02 03:04:05 UTC" in page and "10,000 ms" in page and "1.2 MB" in page and "1.2.3" in page
    manifest["lineage"]["plan_digest"] = "another"  # type: ignore[index]
    (worked / "manifest.json").write_text(json.dumps(manifest))
    assert "its manifest is of another plan" in boxcar("report", worked, code=2).stderr


def test_a_run_without_images_has_a_page(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    output = tmp_path / "run"
    boxcar("plan", tmp_path / "photos", output, "--model", artifact)
    judged(output, rule("complete"))
    boxcar("report", output)
    assert "Nothing was found, and nothing failed." in _page(output)


def test_what_is_missing_is_named(boxcar: Boxcar, worked: Path) -> None:
    validation = worked / "quality/validation.json"
    good = validation.read_bytes()
    (worked / "boxes/part-0000001.jsonl").unlink()
    assert "1 of 3 parts are not there: part-0000001 (missing)" in boxcar("report", worked, code=4).stderr
    validation.write_bytes(good.replace(plan_of(worked).run.encode(), b"00000000"))
    assert "of run 00000000" in boxcar("report", worked, code=2).stderr
    validation.write_bytes(b"{}")
    assert "not a verdict" in boxcar("report", worked, code=2).stderr
    validation.unlink()
    assert "boxcar validate" in boxcar("report", worked, code=2).stderr
    assert not (worked / "report.html").exists()


def test_a_page_stays_small_when_every_box_and_rule_is_shown(worked: Path) -> None:
    output, plan = open_store(str(worked)), plan_of(worked)
    tally, samples = Tally(("cat", "dog", "tree")), Samples(plan, ("cat", "dog", "tree"))
    for part in find_parts(output, plan, plan.parts):
        assert isinstance(part, WholePart)
        crowded = [r.model_copy(update={"boxes": r.boxes * 40}) for r in part.records]
        tally.add_records(crowded)
        samples.add(part.images, crowded)
    from detector.runtime.artifact import load_artifact

    artifact = load_artifact(worked / "model")
    page = render(output, plan, artifact, judged(worked), tally, samples, None).decode()
    assert max(figure.count("data-score") for figure in page.split("</figure>")) == 24
    assert "more boxes are not drawn" in page
