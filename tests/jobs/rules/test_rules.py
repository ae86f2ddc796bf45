"""Each rule has a planted fault that trips it and no other."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from detector.common.quality.judge import MAX_EXAMPLES
from detector.runtime.artifact import Artifact
from jobs.formats import ERRORS, RECORDS_VERSION, BoxRecord, Plan, PlannedImage, PlanPart, Record, Validation, sha256
from jobs.rules import review
from jobs.rules.policy import BOX_RULES, DRIFT_RULES, Policy
from jobs.rules.review import Review

pytestmark = pytest.mark.slow

PLAN = Plan(
    run="0" * 8, digest="0" * 64, planned_at="2024-01-01T00:00:00+00:00", input="/p/", artifact_sha256="0" * 64,
    min_score=0.3, part_size=500, images=20, other_files=0, parts=[],
    records_version=RECORDS_VERSION,
)  # fmt: skip


def _box(**changes: object) -> BoxRecord:
    whole = BoxRecord(label="cat", score=0.5, x=10.0, y=20.0, width=30.0, height=40.0)
    return whole.model_copy(update=changes)


def _record(image: str, status: str = "ok", boxes: list[BoxRecord] | None = None) -> Record:
    ok = status == "ok"
    return Record(
        run=PLAN.run, image=image, etag="e", version_id=None, bytes=9, width=100 if ok else None,
        height=80 if ok else None, status=status, error=ERRORS.get(status), boxes=boxes or [],
    )  # fmt: skip


DEFAULT = Policy()
IMAGES = [f"/p/{index}.jpg" for index in range(20)]


def _add(review: Review, number: int, images: list[str], records: list[Record]) -> None:
    part = PlanPart(name=f"part-{number:07d}", count=len(images), sha256="0" * 64)
    planned = [PlannedImage(key=image.removeprefix("/p/"), size=9, etag=None, mtime_ns=1) for image in images]
    review.add(part, planned, records)


def _judge(artifact: Artifact, records: list[Record], policy: Policy = DEFAULT) -> Validation:
    review = Review(PLAN, artifact, policy)
    _add(review, 0, IMAGES, records)
    return review.verdict()


def _broken(validation: Validation) -> list[str]:
    return [result.rule for result in validation.rules if result.verdict in ("warned", "rejected")]


def _records(boxes: list[BoxRecord] | None = None) -> list[Record]:
    """Good records; the third one has `boxes`."""
    good = [_box(score=1.0, x=60.0), _box(), _box(label="dog", score=0.3, x=0.0, y=0.0, width=100.0, height=80.0)]
    return [_record(image, boxes=boxes if boxes and index == 2 else good) for index, image in enumerate(IMAGES)]


def test_good_records_are_valid(artifact_model: Artifact) -> None:
    validation = _judge(artifact_model, _records())
    assert validation.status == "valid"
    checked = {rule.rule: rule.checked for rule in validation.rules if rule.severity == "reject"}
    assert checked == {
        "complete": 20, "unique": 20, "planned": 20, "failed_share": 20, "status_known": 20,
        "records_consistent": 20, "boxes_per_image": 20,
        "boxes_inside": 60, "boxes_thick": 60, "scores_in_range": 60, "labels_known": 60, "boxes_apart": 60,
    }  # fmt: skip
    warning = {rule.rule: rule.verdict for rule in validation.rules if rule.severity == "warn"}
    assert warning == dict.fromkeys(DRIFT_RULES, "skipped")


def test_a_run_without_images_is_valid(artifact_model: Artifact) -> None:
    validation = Review(PLAN, artifact_model, Policy(max_failed=0)).verdict()
    assert validation.status == "valid" and len(validation.rules) == 22


def _changed(record: Record | None = None, **changes: object) -> list[Record]:
    """Good records; the third one is `record`, changed."""
    records = _records()
    records[2] = (record or records[2]).model_copy(update=changes)
    return records


FAULTS: dict[str, tuple[str, Callable[[], list[Record]]]] = {
    "a record is missing": ("complete", lambda: [r for r in _records() if r.image != IMAGES[2]]),
    "a record is repeated": ("unique", lambda: [*_records(), _record(IMAGES[2])]),
    "an image was not planned": ("planned", lambda: [*_records(), _record("/p/other.jpg")]),
    "many failed": ("failed_share", lambda: [_record(i, "empty") for i in IMAGES[:3]] + _records()[3:]),
    "left of the image": ("boxes_inside", lambda: _records([_box(x=-0.0625)])),
    "above the image": ("boxes_inside", lambda: _records([_box(y=-0.0625)])),
    "right of the image": ("boxes_inside", lambda: _records([_box(x=70.0625)])),
    "below the image": ("boxes_inside", lambda: _records([_box(y=40.0625)])),
    "no width": ("boxes_thick", lambda: _records([_box(width=0.0)])),
    "negative height": ("boxes_thick", lambda: _records([_box(height=-1.0)])),
    "thinner than a pixel": ("boxes_thick", lambda: _records([_box(height=0.9375)])),
    "two boxes of one cat": ("boxes_apart", lambda: _records([_box(), _box(score=0.4, x=12.0)])),
    "eleven boxes": (
        "boxes_per_image",
        lambda: _records([_box(x=8.0 * (i % 4), y=8.0 * (i // 4), width=4.0, height=4.0) for i in range(11)]),
    ),
    "score below the threshold": ("scores_in_range", lambda: _records([_box(score=0.2999)])),
    "score above one": ("scores_in_range", lambda: _records([_box(score=1.0001)])),
    "unknown label": ("labels_known", lambda: _records([_box(label="wolf")])),
    "no label": ("labels_known", lambda: _records([_box(label="")])),
    "ok without a size": ("records_consistent", lambda: _changed(width=None)),
    "ok without pixels": ("records_consistent", lambda: _changed(boxes=[], height=0)),
    "ok with an error": ("records_consistent", lambda: _changed(error="access denied")),
    "failed without an error": ("records_consistent", lambda: _changed(_record(IMAGES[2], "empty"), error=None)),
    "failed with boxes": ("records_consistent", lambda: _changed(_record(IMAGES[2], "empty"), boxes=[_box()])),
    "failed with a size": ("records_consistent", lambda: _changed(_record(IMAGES[2], "empty"), width=100)),
    "the best score last": ("records_consistent", lambda: _records([_box(score=0.4), _box(score=0.5, x=60.0)])),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_trips_its_rule_and_no_other(artifact_model: Artifact, fault: str) -> None:
    rule, plant = FAULTS[fault]
    validation = _judge(artifact_model, plant())
    assert validation.status == "rejected"
    (broken,) = (result for result in validation.rules if result.verdict not in ("passed", "skipped"))
    assert (broken.rule, broken.verdict) == (rule, "rejected")
    assert broken.broken >= 1
    expected = {"planned": ["/p/other.jpg"], "failed_share": IMAGES[:3]}.get(rule, [IMAGES[2]])
    assert broken.examples == expected


def test_each_rule_that_rejects_has_a_planted_fault(artifact_model: Artifact) -> None:
    rules = {rule.rule for rule in _judge(artifact_model, _records()).rules if rule.severity == "reject"}
    assert rules == {rule for rule, _ in FAULTS.values()} | {"status_known"}


def test_the_page_of_the_rules_names_each_of_them_and_no_other(artifact_model: Artifact) -> None:
    page = (Path(__file__).parents[3] / "docs/quality.md").read_text()
    named = re.findall(r"^\| `(\w+)` \|", page[: page.index("## Drift")], re.MULTILINE)
    assert named == [rule.rule for rule in _judge(artifact_model, _records()).rules]


def test_an_unknown_status_is_no_success_either(artifact_model: Artifact) -> None:
    records = [_record(image, "lost" if image == IMAGES[2] else "ok") for image in IMAGES]
    validation = _judge(artifact_model, records)
    assert _broken(validation) == ["status_known"]
    assert {rule.rule: rule.examples for rule in validation.rules}["status_known"] == [IMAGES[2]]


@pytest.mark.parametrize(("limit", "status"), [(0.05, "valid"), (0.0499, "rejected"), (0, "rejected"), (1, "valid")])
def test_a_share_of_failures_equal_to_the_limit_is_allowed(artifact_model: Artifact, limit: float, status: str) -> None:
    records = [_record(IMAGES[0], "missing"), *_records()[1:]]
    assert _judge(artifact_model, records, Policy(limit)).status == status


def test_boxes_of_two_labels_or_with_little_overlap_may_lie_together(artifact_model: Artifact) -> None:
    threshold = artifact_model.nms_threshold
    assert threshold == 0.4
    # Two boxes of 30 x 40 that share 17 x 40: IoU 680 / 1720 = .395.
    boxes = [_box(), _box(label="dog", score=0.45), _box(score=0.4, x=23.0)]
    assert _broken(_judge(artifact_model, _records(boxes))) == []
    boxes[2] = _box(score=0.4, x=22.0)  # 18 x 40: .429
    assert _broken(_judge(artifact_model, _records(boxes))) == ["boxes_apart"]


def test_findings_of_several_batches_add_up_and_examples_stay_few(
    artifact_model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(review, "BATCH_RECORDS", 15)
    bad = [_box(score=0.1)]
    judging = Review(PLAN, artifact_model, Policy())
    for part in range(5):
        images = [f"/p/{part}-{index}.jpg" for index in range(10)]
        _add(judging, part, images, [_record(image, boxes=bad) for image in images])
    (broken,) = (rule for rule in judging.verdict().rules if rule.verdict == "rejected")
    assert (broken.rule, broken.checked, broken.broken) == ("scores_in_range", 50, 50)
    assert broken.examples == [f"/p/{index // 10}-{index % 10}.jpg" for index in range(MAX_EXAMPLES)]


PLANTED = {
    "usual photographs": ([], 3, ("cat", "cat", "dog"), None),
    "ten boxes an image": (["boxes_per_image_drift"], 10, ("cat", "cat", "dog"), None),
    "one box in two images": (["boxes_per_image_drift"], 0.5, ("cat", "cat", "dog"), None),
    "dogs only": (["label_drift"], 3, ("dog",), None),
    "scores just above the threshold": (["score_drift"], 3, ("cat", "cat", "dog"), 0.31),
}


@pytest.mark.parametrize("case", PLANTED)
def test_a_planted_drift_trips_its_rule_and_no_other_and_only_warns(measured: Artifact, case: str) -> None:
    rules, per_image, labels, score = PLANTED[case]
    for policy, status in ((Policy(), "valid"), (Policy(strict=tuple(rules)), "rejected" if rules else "valid")):
        judging = Review(PLAN, measured, policy)
        names = [f"/p/{index:06d}.jpg" for index in range(600)]
        boxes = iter(
            _box(label=labels[index % len(labels)], score=score or 0.3 + (index * 37 % 6700) / 10_000)
            for index in range(10_000)
        )
        records = []
        for index, name in enumerate(names):
            count = int((index + 1) * per_image) - int(index * per_image)
            apart = [next(boxes).model_copy(update={"x": 9.0 * place, "width": 8.0}) for place in range(count)]
            records.append(_record(name, boxes=sorted(apart, key=lambda box: -box.score)))
        _add(judging, 0, names, records)
        validation = judging.verdict()
        assert _broken(validation) == rules
        assert validation.status == status
        assert {rule.verdict for rule in validation.rules if rule.rule in rules} <= {
            "warned" if policy == Policy() else "rejected"
        }


def test_a_run_of_an_older_version_keeps_the_bytes_of_its_verdict(measured: Artifact) -> None:
    """Its manifest has their digest. This one is of the boxcar that made records of version 3."""
    judging = Review(PLAN.model_copy(update={"records_version": 3}), measured, Policy(strict=("label_drift",)))
    names = [f"/p/{index % 2}/{index:06d}.jpg" for index in range(600)]
    _add(judging, 0, names, [_record(name, boxes=[_box(label="dog", score=0.35)]) for name in names])
    validation = judging.verdict()
    assert [rule.examples for rule in validation.rules if rule.rule in BOX_RULES] == [[""]] * 3
    assert sha256(validation.pretty()) == "290f1541173f62a034e298c8748e43ef47f65d915758e2f5846dd257d045d5ec"


def test_one_bad_image_does_not_hide_the_others_in_the_examples(artifact_model: Artifact) -> None:
    bad = _box(score=0.1)
    records = _records()
    records[0] = records[0].model_copy(update={"boxes": [bad] * 100})
    for index in (7, 11):
        records[index] = records[index].model_copy(update={"boxes": [bad]})
    (broken,) = (rule for rule in _judge(artifact_model, records).rules if rule.rule == "scores_in_range")
    assert (broken.broken, broken.examples) == (102, [IMAGES[0], IMAGES[7], IMAGES[11]])


def test_an_expectation_that_does_not_answer_is_no_consent(
    artifact_model: Artifact, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Great Expectations gives a result for each; if it ever gave fewer, nothing may pass for that."""
    from great_expectations.core.batch_definition import BatchDefinition

    original = BatchDefinition.get_batch

    def silent(self: BatchDefinition, *arguments: object, **options: object) -> object:
        batch = original(self, *arguments, **options)
        validate = batch.validate

        def without_last(*given: object, **more: object) -> object:
            found = validate(*given, **more)
            found.results.pop()
            return found

        batch.validate = without_last
        return batch

    monkeypatch.setattr(BatchDefinition, "get_batch", silent)
    with pytest.raises(RuntimeError, match=r"asked .* answered"):
        _judge(artifact_model, _records())


CHILD = """
import os, socket
asked = []
def refuse(*arguments, **options):
    asked.append(arguments)
    raise OSError("no network here")
socket.socket.connect = socket.socket.connect_ex = socket.getaddrinfo = refuse
from detector.runtime.artifact import load_artifact
from detector.runtime.shipped import SHIPPED
from jobs.rules.policy import BOX_RULES, DRIFT_RULES, Policy
from jobs.rules.review import Review
from tests.jobs.rules.test_rules import PLAN
review = Review(PLAN, load_artifact(SHIPPED), Policy())
print(review.verdict().status, os.environ["GX_ANALYTICS_ENABLED"])
print(asked)
"""


@pytest.mark.slow
def test_quiet_and_private(tmp_path: Path) -> None:
    """No analytics, nothing written to the home folder, nothing on the terminal."""
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    before = {name: value for name, value in os.environ.items() if not name.startswith("GX_")}
    result = subprocess.run(
        [sys.executable, "-c", CHILD],
        env=before | {"HOME": str(home)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "valid false\n[]\n", "")
    assert list(home.iterdir()) == []
