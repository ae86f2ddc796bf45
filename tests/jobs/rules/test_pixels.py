"""The rules over pixels, the drift of prefixes, and the correction for looking at many."""

from __future__ import annotations

import random
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import fisher_exact

from detector.runtime.artifact import Artifact
from detector.runtime.image_quality import image_quality
from detector.runtime.images import Decoded
from detector.runtime.pixel_counts import EDGES, CountedImage, PixelCounts, counted_image
from jobs.formats import (
    RECORDS_VERSION,
    BoxRecord,
    Plan,
    PlannedImage,
    PlanPart,
    QualityRecord,
    Record,
    RunProfile,
    Validation,
)
from jobs.profile import MOST_PREFIXES, Profiles
from jobs.rules import pixels
from jobs.rules import subjects as subject_module
from jobs.rules.pixels import PIXEL_RULES, TAILS, measure_pixels, tail_bins
from jobs.rules.policy import ALARM_RATE, BOX_RULES, DRIFT_RULES, MAX_SHIFT, PREFIX_IMAGES, TAIL, Policy
from jobs.rules.review import Review
from jobs.rules.rules import drift_rules, within_limits
from jobs.rules.significance import holm, more_often
from jobs.rules.subjects import WHOLE, Subject, subjects

PLAN = Plan(
    run="0" * 8, digest="0" * 64, planned_at="2024-01-01T00:00:00+00:00", input="/p/", artifact_sha256="0" * 64,
    min_score=0.3, part_size=500, images=20, other_files=0, parts=[], records_version=RECORDS_VERSION,
)  # fmt: skip


def _quality(draw: random.Random) -> QualityRecord:
    return QualityRecord(
        sharpness=2 ** draw.gauss(11, 1), brightness=min(255, max(0, draw.gauss(110, 25))), clipped_dark=0.0,
        clipped_bright=abs(draw.gauss(0, 0.03)), contrast=50.0, red_green=draw.gauss(5, 15),
        blue_yellow=draw.gauss(-10, 15),
        aspect=draw.choice([0.75, 1.33, 1.33, 1.5]), perceptual_hash=f"{draw.getrandbits(64):016x}",
    )  # fmt: skip


def _records(prefix: str, count: int, seed: int = 0, **changes: object) -> list[Record]:
    """Photographs with two cats and a dog, whose scores are spread; changes: fields of their quality."""
    draw = random.Random(f"{prefix}{seed}")
    return [
        Record(
            run=PLAN.run, image=f"/p/{prefix}{number:05d}.jpg", etag="e", version_id=None, bytes=9, width=400,
            height=300, status="ok", error=None,
            boxes=[
                BoxRecord(label=label, score=round(draw.uniform(0.3, 1), 4), x=0, y=0, width=9, height=9)
                for label in ("cat", "cat", "dog")
            ],
            image_quality=_quality(draw).model_copy(update=changes),
        )
        for number in range(count)
    ]  # fmt: skip


def _profiles(artifact: Artifact, records: Sequence[Record], depth: int = 1) -> Profiles:
    profiles = Profiles(PLAN, artifact.classes, 3, depth)
    profiles.add(records)
    return profiles


@pytest.fixture(scope="session")
def counted(measured: Artifact) -> Artifact:
    """The measured artifact, with the pixels of 1,000 test images."""
    test = _profiles(measured, _records("test/", 1000)).whole.baseline()
    assert measured.baseline is not None
    return measured.model_copy(update={"baseline": measured.baseline.model_copy(update={"pixels": test.pixels})})


def _found(artifact: Artifact, records: Sequence[Record], earlier: RunProfile | None = None) -> dict[str, Subject]:
    return {found.name: found for found in subjects(_profiles(artifact, records), PLAN, artifact, earlier)}


def _cameras(count: int = 10, images: int = 200, seed: int = 0) -> list[Record]:
    return [record for number in range(count) for record in _records(f"cam-{number:02d}/", images, seed)]


def _verdict(artifact: Artifact, records: Sequence[Record], policy: Policy) -> Validation:
    review = Review(PLAN, artifact, policy)
    images = [PlannedImage(key=record.image[3:], size=9, etag="e", mtime_ns=None) for record in records]
    review.add(PlanPart(name="part-0000000", count=len(images), sha256="0" * 64), images, records)
    return review.verdict()


FAULTS: dict[str, tuple[str, dict[str, object]]] = {
    "defocus": ("blur_drift", {"sharpness": 100.0}),
    "night": ("darkness_drift", {"brightness": 20.0}),
    "overexposure": ("glare_drift", {"clipped_bright": 0.4}),
    "a red cast": ("colour_drift", {"red_green": 60.0}),
    "a blue cast": ("colour_drift", {"blue_yellow": 50.0}),
    "a rotated camera": ("portrait_drift", {"aspect": 0.75}),
    "a camera that hangs": (
        "near_duplicates",
        {
            "perceptual_hash": "00ff00ff00ff00ff",
            "brightness": 110.0,
            "red_green": 5.0,
            "blue_yellow": -10.0,
            "aspect": 1.33,
        },
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_of_one_camera_of_ten_breaks_its_rule_there_and_nowhere_else(counted: Artifact, fault: str) -> None:
    rule, changes = FAULTS[fault]
    records = [*_cameras(9), *_records("cam-09/", 200, **changes)]
    found = _found(counted, records)
    assert list(found) == [WHOLE, *(f"cam-{number:02d}/" for number in range(10))]
    broken = {
        (name, judged)
        for name, subject in found.items()
        for judged, value in subject.row().items()
        if judged in PIXEL_RULES and value is not None and not within_limits(judged, value)
    }
    assert broken == {("cam-09/", rule)}
    examples = found["cam-09/"].examples(rule)
    assert examples and all(image.startswith("/p/cam-09/") for image in examples)


def test_the_name_of_a_folder_writes_no_line_of_its_own(counted: Artifact) -> None:
    records = [*_cameras(2), *_records("evil\x1b[31m\nverdict: valid/", 200, brightness=20.0)]
    rules = {rule.rule: rule for rule in _verdict(counted, records, Policy()).rules}
    dark, labels = rules["darkness_drift"], rules["label_drift"].observed
    assert labels.endswith("no prefix is judged: the boxes of a prefix are compared with an earlier run only")
    assert dark.verdict == "warned" and r"evil\x1b[31m\nverdict: valid/ " in dark.observed
    assert dark.observed.isprintable()


def test_the_worst_images_come_first(counted: Artifact) -> None:
    records = [*_cameras(2), *_records("dark/", 200, brightness=30.0)]
    records[-1] = records[-1].model_copy(update={"image": "/p/dark/darkest.jpg"})
    quality = records[-1].image_quality
    assert quality is not None
    for number in range(100):  # chance decides which images are in the sample
        name = f"/p/dark/darkest-{number}.jpg"
        records.append(
            records[-1].model_copy(
                update={"image": name, "image_quality": quality.model_copy(update={"brightness": 5.0})}
            )
        )
    first, *_ = _found(counted, records)["dark/"].examples("darkness_drift")
    assert first.startswith("/p/dark/darkest-")


def test_the_run_before_is_compared_with_by_prefix(counted: Artifact) -> None:
    """A dark camera is nothing new, a new one is compared with the test images, and a size that changes is seen."""
    dark = {"brightness": 20.0, "perceptual_hash": "00ff00ff00ff00ff"}
    before = [*_cameras(3), *_records("dark/", 200, **dark)]
    earlier = _profiles(counted, before).published("1" * 8)
    assert RunProfile.model_validate_json(earlier.canonical()) == earlier
    now = [*_cameras(3, seed=1), *_records("dark/", 200, seed=1, **dark), *_records("new/", 200, **dark)]
    now += [record.model_copy(update={"width": 1600, "height": 1200}) for record in _records("cam-01b/", 150)]
    earlier = earlier.model_copy(update={"prefixes": earlier.prefixes | {"cam-01b/": earlier.prefixes["cam-01/"]}})
    found = _found(counted, now, earlier)
    row = {name: subject.row() for name, subject in found.items()}
    assert (row["dark/"]["darkness_drift"] or 0) < MAX_SHIFT / 5 and "run before" in found["dark/"].measures[
        "blur_drift"
    ].text
    assert (row["dark/"]["near_duplicates"] or 0) < MAX_SHIFT / 5
    assert (row["new/"]["darkness_drift"] or 0) > MAX_SHIFT and "on test" in found["new/"].measures[
        "darkness_drift"
    ].text
    assert row["new/"]["frame_drift"] is None
    assert row["cam-01b/"]["frame_drift"] == 1.0 and (row["cam-01/"]["frame_drift"] or 0) == 0


def test_labels_of_a_folder_are_compared_with_the_run_before_only(counted: Artifact) -> None:
    """A folder of one class has labels of its own, which is no fault until they change."""

    def of(label: str, seed: int) -> list[Record]:
        return [
            record.model_copy(update={"boxes": [box.model_copy(update={"label": label}) for box in record.boxes[:2]]})
            for record in _records("one/", 110, seed)
        ]

    usual = _cameras(3, 300)
    first = _found(counted, [*usual, *of("dog", 0)])["one/"].measures
    assert {first[rule].value for rule in BOX_RULES} == {None} and first["blur_drift"].value is not None
    earlier = _profiles(counted, [*usual, *of("dog", 0)]).published("1" * 8)
    for label, broken in (("dog", False), ("cat", True)):
        row = _found(counted, [*_cameras(3, 300, seed=1), *of(label, 1)], earlier)["one/"].row()
        assert (row["label_drift"] is not None and not within_limits("label_drift", row["label_drift"])) == broken


def test_what_is_not_judged_says_why(measured: Artifact, artifact_model: Artifact, counted: Artifact) -> None:
    def said(artifact: Artifact, records: Sequence[Record]) -> set[str]:
        measures = _found(artifact, records)[WHOLE].measures
        assert all(measures[rule].value is None for rule in PIXEL_RULES)
        return {measures[rule].text for rule in PIXEL_RULES}

    assert said(measured, _records("a/", 200)) == {"the artifact has no counts of pixels"}
    assert said(artifact_model, _records("a/", 200)) == {"the artifact has no counts of pixels"}
    assert said(counted, _records("a/", 99)) == {"99 images; needs 100 here and on test"}
    assert said(counted, []) == {"0 images; needs 100 here and on test"}
    old = [record.model_copy(update={"image_quality": None}) for record in _records("a/", 200)]
    assert said(counted, old) == {"0 images; needs 100 here and on test"}
    assert counted.baseline is not None and counted.baseline.pixels is not None
    other = counted.baseline.pixels.model_copy(update={"histograms": {}})
    changed = counted.model_copy(update={"baseline": counted.baseline.model_copy(update={"pixels": other})})
    assert said(changed, _records("a/", 200)) == {"the pixels on test were counted in another way"}


def test_which_prefixes_are_judged(counted: Artifact) -> None:
    few = _records("few/", PREFIX_IMAGES - 1)
    assert list(_found(counted, [*_records("a/", 100), *few])) == [WHOLE]
    assert list(_found(counted, [*_records("a/", 100), *_records("b/x/", 100), *few])) == [WHOLE, "a/", "b/"]
    deeper = [*_records("a/", 100), *_records("b/x/", 100), *_records("b/y/z/", 100)]
    profiles = _profiles(counted, deeper, 2)
    assert list(profiles.prefixes or {}) == ["b/x/", "b/y/"] and profiles.whole.images == 300
    assert _profiles(counted, deeper, 0).prefixes is None
    single = [record for number in range(MOST_PREFIXES) for record in _records(f"{number:04d}/", 1)]
    assert len(_profiles(counted, single).prefixes or {}) == MOST_PREFIXES
    assert _profiles(counted, [*single, *_records("one-more/", 1)]).prefixes is None


@pytest.mark.parametrize(
    ("height", "width", "images"), [(1, 20000, 0), (20000, 1, 0), (5, 600, 0), (6, 600, 1), (2, 2, 1)]
)
def test_images_that_are_too_thin_to_be_sharp_are_not_counted(
    measured: Artifact, height: int, width: int, images: int
) -> None:
    (record,) = _records("a/", 1)
    profiles = _profiles(measured, [record.model_copy(update={"height": height, "width": width})])
    assert (profiles.whole.images, profiles.whole.pixels.images) == (1, images)
    noise = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    assert (image_quality(Decoded(noise, height, width, (0, height), (0, width))).sharpness > 0) == images


@settings(max_examples=10, deadline=None)
@given(st.randoms(use_true_random=False))
def test_counts_do_not_depend_on_order_or_grouping(measured: Artifact, draw: random.Random) -> None:
    """So parts may be added as they are, and a killed and resumed run publishes the same bytes."""
    records = [record for name in ("a/", "b/") for record in _records(name, 90)]
    wanted = _profiles(measured, records).published(PLAN.run).canonical()
    draw.shuffle(records)
    profiles = Profiles(PLAN, measured.classes, 3, 1)
    while records:
        count = draw.randint(1, 50)
        profiles.add(records[:count])
        del records[:count]
    assert profiles.published(PLAN.run).canonical() == wanted


def test_the_sample_is_bounded_and_finds_near_duplicates() -> None:
    counts = PixelCounts(50)
    numbers = tuple(1.0 for _ in EDGES)
    counts.add([CountedImage(f"{number}", numbers, (1 << 64) - 1 - (number % 7)) for number in range(2000)])
    assert len(counts.sample()) == 50 == len(counts.near_duplicates()) and counts.images == 2000
    spread = PixelCounts(50)
    draw = random.Random(0)
    spread.add([CountedImage(f"{number}", numbers, draw.getrandbits(64)) for number in range(2000)])
    assert spread.near_duplicates() == []


@pytest.mark.parametrize(
    ("changes", "near"),
    [({}, 12), ({"brightness": None}, 0), ({"red_green": None}, 0), ({"blue_yellow": None}, 0), ({"contrast": 1.9}, 0)],
)
def test_images_with_one_hash_are_near_duplicates_if_colours_agree_and_they_are_not_blank(
    changes: dict[str, float | None], near: int
) -> None:
    """None: this number differs from image to image by ten levels."""
    counts = PixelCounts()
    same = _quality(random.Random(0)).model_copy(update={"perceptual_hash": "0" * 16, "brightness": 90.0})
    for number in range(12):
        own = {name: EDGES[name][0] + 10 * number + 1 if value is None else value for name, value in changes.items()}
        counts.add([counted_image(f"{number}", same.model_copy(update=own), 300, 400)])
    assert len(counts.near_duplicates()) == near
    assert counts.baseline().sampled == (0 if "contrast" in changes else 12)


def _bursts(images: int, seed: int) -> PixelCounts:
    """Every photograph three times."""
    draw, counts = random.Random(seed), PixelCounts()
    for number in range(images // 3):
        same = draw.getrandbits(64)
        counts.add([CountedImage(f"{seed}/{number}-{frame}", (1.0,) * len(EDGES), same) for frame in range(3)])
    return counts


@pytest.mark.parametrize(("before", "now"), [(9000, 300), (3000, 300), (1200, 300), (600, 600), (300, 3000)])
def test_near_duplicates_do_not_depend_on_the_number_of_images(before: int, now: int) -> None:
    base = _bursts(before, 1).baseline()
    found = measure_pixels(_bursts(now, 2), base, "the run before", is_test=False)["near_duplicates"]
    if before == 9000:  # 8 of 300 images would be as small a share as 256 of 9,000
        assert (found.value, found.text) == (None, "8 images, for a sample like that of the run before; needs 20")
    else:
        assert found.value is not None and (found.value <= MAX_SHIFT or found.chance > ALARM_RATE), found
    stuck = PixelCounts()
    stuck.add([CountedImage(f"{number}", (1.0,) * len(EDGES), 255) for number in range(now)])
    alarm = measure_pixels(stuck, base, "the run before", is_test=False)["near_duplicates"]
    assert base.near_duplicates / base.sampled > 0.7 or alarm.value is None or alarm.value > MAX_SHIFT


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(0, 40), min_size=66, max_size=66).filter(any), st.sampled_from(sorted(TAILS)))
def test_a_tail_holds_about_a_tenth_and_keeps_its_margin(counts: list[int], rule: str) -> None:
    for tail in TAILS[rule]:
        theirs = np.array(counts[: len(EDGES[tail.number]) + 1], np.int64)
        if not theirs.sum():
            continue
        bins, total = tail_bins(tail, theirs), theirs.sum()
        beyond = slice(bins.start + 1, bins.stop) if tail.high else slice(bins.start, max(0, bins.stop - 1))
        assert theirs[bins].sum() <= TAIL * total or theirs[beyond].sum() < TAIL / 2 * total
        median = int(np.searchsorted(np.cumsum(theirs[:: -1 if tail.high else 1]) / total, 0.5))
        most = max(0, median - tail.margin + 1)
        assert bins.stop - bins.start <= most
        assert theirs[bins].sum() >= TAIL / 2 * total or bins.stop - bins.start == most


def _bright(levels: Sequence[float]) -> PixelCounts:
    counts = PixelCounts()
    numbers = {name: 400.0 if name == "size" else 1.0 for name in EDGES}
    counts.add(
        [
            CountedImage(f"{number}", tuple((numbers | {"brightness": level}).values()), number)
            for number, level in enumerate(levels)
        ]
    )
    return counts


@pytest.mark.parametrize("dark", [1.0, 21.0])
def test_a_reference_with_more_than_a_tenth_at_one_level_still_shows_darkness(dark: float) -> None:
    """12 % black images, or 12 % at a dark level: then all images are."""
    base = _bright([dark if number % 8 == 0 else 120.0 for number in range(800)]).baseline()
    found = measure_pixels(_bright([dark] * 800), base, "test", is_test=True)["darkness_drift"]
    assert found.value == pytest.approx(7 / 8) and found.chance < ALARM_RATE
    same = measure_pixels(
        _bright([dark if number % 8 == 0 else 120.0 for number in range(400)]), base, "test", is_test=True
    )
    assert same["darkness_drift"].value == 0


def test_a_tail_for_which_the_reference_leaves_no_room_is_not_judged() -> None:
    found = measure_pixels(_bright([1.0] * 200), _bright([1.0] * 200).baseline(), "test", is_test=True)
    assert found["darkness_drift"].value is None
    assert found["darkness_drift"].text == "half of the images on test lie at that end themselves"


def test_chances_are_those_of_scipy_and_of_holm() -> None:
    for seen, images, before, of in ((30, 200, 90, 952), (0, 10, 5, 100), (10, 10, 100, 100)):
        wanted = fisher_exact([[seen, images - seen], [before, of - before]], alternative="greater").pvalue
        assert more_often(seen, images, before, of) == pytest.approx(wanted)
    assert holm([]) == []
    # Holm (1979): .01 * 4, .02 * 3, max(.03 * 2, .06), .04 kept from falling.
    assert holm([0.04, 0.01, 0.03, 0.02]) == pytest.approx([0.06, 0.04, 0.06, 0.06])


def test_clean_cameras_break_no_rule(counted: Artifact) -> None:
    for subject in _found(counted, _cameras(12, 110, seed=1)).values():
        assert all(value is None or within_limits(rule, value) for rule, value in subject.row().items()), subject.name


def test_measures_are_corrected_for_their_number(counted: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looked at alone, eight dark images of twelve are beyond chance; among all that is looked at, they are not."""
    for module in (pixels, subject_module):
        monkeypatch.setattr(module, "PREFIX_IMAGES", 12)

    def night(dark: int, seed: int) -> list[Record]:
        return [*_records("a/", 12 - dark, seed, brightness=120.0), *_records("a/x", dark, seed, brightness=10.0)]

    earlier = _profiles(counted, [*night(1, 0), *_records("b/", 12)]).published("1" * 8)
    for dark, wanted in ((8, None), (12, 11 / 12)):
        subject = _found(counted, [*night(dark, 1), *_records("b/", 12, 1)], earlier)["a/"]
        drift = subject.measures["darkness_drift"]
        assert (drift.value or 0) > MAX_SHIFT and drift.chance <= ALARM_RATE
        assert subject.row()["darkness_drift"] == (pytest.approx(wanted) if wanted else None)


def test_what_keeps_prefixes_from_being_judged_is_said(counted: Artifact, monkeypatch: pytest.MonkeyPatch) -> None:
    records = [record for prefix in ("a/", "b/") for record in _records(prefix, 100)]
    flat = _profiles(counted, records, 0).published("1" * 8)
    assert _profiles(counted, records).note(None) == _profiles(counted, records, 0).note(flat) == ""
    assert _profiles(counted, records).note(flat) == "--prefix-depth is 1, and it was 0 in the run before"
    monkeypatch.setattr("jobs.profile.MOST_PREFIXES", 1)
    review = Review(PLAN, counted, Policy())
    images = [PlannedImage(key=record.image[3:], size=9, etag="e", mtime_ns=None) for record in records]
    review.add(PlanPart(name="part-0000000", count=len(images), sha256="0" * 64), images, records)
    said = [rule.observed for rule in review.verdict().rules if rule.rule in DRIFT_RULES]
    assert all(observed.endswith("; more than 1 prefixes: none of them is judged") for observed in said)


def test_sentences_state_what_is_compared_with() -> None:
    """A run of an older version keeps its sentences, which belong to what it published."""
    expect = SimpleNamespace(ExpectColumnValuesToBeBetween=dict)
    said = {rule.name: rule.sentence for rule in drift_rules(expect, Policy(), DRIFT_RULES)}
    assert all("run before" in sentence for sentence in said.values())
    assert said["blur_drift"].startswith(
        "At most 35 % of the images are as blurred as one in ten of the artifact's test"
    )
    older = {rule.name: rule.sentence for rule in drift_rules(expect, Policy(), BOX_RULES)}
    assert all("run before" not in sentence and said[name].startswith(sentence) for name, sentence in older.items())


def test_chance_alone_is_not_reported(counted: Artifact) -> None:
    """A measure beyond its limit in few images stays out of the table that the rules judge."""
    found = _found(counted, [*_records("a/", 120), *_records("b/", 120)])
    for subject in found.values():
        for rule in DRIFT_RULES:
            drift = subject.measures[rule]
            if drift.value is not None and drift.chance > ALARM_RATE:
                assert subject.row()[rule] is None
