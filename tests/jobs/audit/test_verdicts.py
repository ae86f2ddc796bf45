"""How what people say is read, and how disagreement is settled: never in favour of the detector."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from jobs.audit.verdicts import Given, Settled, missed_objects, read_verdicts, settle
from jobs.errors import UsageError
from jobs.formats import (
    BoxRecord,
    BoxStratum,
    BoxVerdict,
    DrawnBox,
    DrawnImage,
    ImageVerdict,
    MissedObject,
    Sample,
    Stratum,
    Verdicts,
)

SAMPLE = Sample(
    run="0" * 8, manifest_sha256="0" * 64, input="/in/", by="random", seed=0, count=1, population=2, excluded=0,
    for_estimates=True, strata=[Stratum(name="all", images=2, drawn=1)],
    images=[DrawnImage(image="/in/a", etag=None, stratum="all", probability=0.5, left_out=None)], earlier=[],
    labels=["cat", "dog"], box_strata=[BoxStratum(name="cat", label="cat", low=0.3, high=None, boxes=2, drawn=1)],
    boxes=[
        DrawnBox(
            image="/in/b", etag=None, number=0, box=BoxRecord(label="cat", score=0.5, x=0, y=0, width=1, height=1),
            stratum="cat", probability=0.5, left_out=None,
        )
    ],
)  # fmt: skip


def _verdict(verdict: str, label: str | None = None, image: str = "/in/b", number: int = 0) -> BoxVerdict:
    return BoxVerdict.model_validate({"image": image, "number": number, "verdict": verdict, "label": label})


def _file(reviewer: str = "Ana", **changes: Any) -> Verdicts:
    values: dict[str, Any] = {"boxes": [_verdict("right")], "images": [], "sample": SAMPLE} | changes
    return Verdicts(reviewer=reviewer, saved_at="2026-01-01T00:00:00.000Z", **values)


@pytest.mark.parametrize(
    ("said", "expected"),
    [
        (["right"], "right"),
        (["right", "right", "not_an_object"], "right"),
        (["right", "not_an_object"], "cannot_tell"),  # a tie
        (["right", "badly_placed", "not_an_object"], "cannot_tell"),  # wrong for two, and nobody knows why
        (["right", "right", "cannot_tell", "cannot_tell"], "cannot_tell"),
    ],
)
def test_a_verdict_needs_more_than_half(said: list[str], expected: str) -> None:
    assert settle([_verdict(one) for one in said]) == Settled(expected)


def test_a_label_needs_more_than_half_of_those_who_call_it_wrong() -> None:
    dog, other, right = _verdict("wrong_label", "dog"), _verdict("wrong_label"), _verdict("right")
    assert settle([dog, dog, right]) == Settled("wrong_label", "dog")
    assert settle([other]) == Settled("wrong_label", None)
    assert settle([dog, other]) == Settled("wrong_label", None, doubtful=True)


def _image(*missed: MissedObject, cannot_tell: bool = False) -> ImageVerdict:
    return ImageVerdict(image="/in/a", missed=list(missed), cannot_tell=cannot_tell)


def _missed(*verdicts: ImageVerdict) -> Any:
    given = [Given(_file(str(n), images=[one]), "") for n, one in enumerate(verdicts)]
    return missed_objects(SAMPLE, given).get("/in/a")


def test_missed_objects_are_those_that_all_are_sure_of_up_to_all_that_one_thinks_possible() -> None:
    cat, maybe = MissedObject(label="cat", x=1, y=1), MissedObject(label="cat", x=2, y=2, sure=False)
    one = _missed(_image(cat, maybe))
    assert (one.least["cat"], one.most["cat"], one.objects) == (1, 2, [cat, maybe])
    two = _missed(_image(cat, maybe), _image())
    assert (two.least["cat"], two.most["cat"], two.objects) == (0, 2, None)
    assert _missed(_image(cat), _image(cannot_tell=True)) is None
    assert _missed(_image(cannot_tell=True)) is None
    three = _missed(_image(cat), _image(cat, cat), _image(cannot_tell=True))
    assert (three.least["cat"], three.most["cat"]) == (1, 2)


def test_what_is_wrong_with_a_file_is_said(tmp_path: Path) -> None:
    good = tmp_path / "ana.json"
    good.write_bytes(_file().pretty())
    assert read_verdicts([good])[0].verdicts == _file()
    other = SAMPLE.model_copy(update={"seed": 1})
    bad = {
        "not a file of verdicts": b"{}",
        "not a file of verdicts: Invalid JSON": b"PK\x03\x04",
        "use a newer boxcar": _file("Ben").pretty().replace(b'{\n  "schema": 1', b'{\n  "schema": 2', 1),
        "is about another sample": _file("Ben", sample=other).pretty(),
        "is by Ana, as": _file().pretty(),
        "judges something in /in/b twice": _file("Ben", boxes=[_verdict("right")] * 2).pretty(),
        "judges box 1 of /in/b, which is not": _file("Ben", boxes=[_verdict("right", number=1)]).pretty(),
        "gives box 0 of /in/b the label cat": _file("Ben", boxes=[_verdict("wrong_label", "cat")]).pretty(),
        "gives box 0 of /in/b the label cow": _file("Ben", boxes=[_verdict("wrong_label", "cow")]).pretty(),
        "judges /in/b, which is not": _file("Ben", images=[ImageVerdict(image="/in/b", missed=[])]).pretty(),
        "with the label cow": _file("Ben", images=[_image(MissedObject(label="cow", x=0, y=0))]).pretty(),
    }
    for reason, data in bad.items():
        (tmp_path / "bad.json").write_bytes(data)
        with pytest.raises(UsageError) as caught:
            read_verdicts([good, tmp_path / "bad.json"])
        assert reason in str(caught.value) and "bad.json" in str(caught.value), reason
    with pytest.raises(UsageError, match="cannot be read"):
        read_verdicts([tmp_path / "none.json"])
