"""Every snippet of docs/analysts.md answers what a plain loop over the records answers, in a folder and in S3."""

from __future__ import annotations

import ast
import json
import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import boto3
import duckdb
import pytest
from click.testing import CliRunner
from PIL import Image
from s3fs import S3FileSystem

from jobs.cli import main
from tests.jobs.helpers import encoded, write_photos

PAGE = Path(__file__).parents[3] / "docs/analysts.md"
# A section's heading, and its blocks with their language.
SECTION = re.compile(r"^## (.*?)$(.*?)(?=^## |\Z)", re.MULTILINE | re.DOTALL)
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
Rows = list[tuple[Any, ...]]
Line = dict[str, Any]


def _blocks() -> dict[str, list[tuple[str, str]]]:
    """The snippets of each section; what only shows something is left out."""
    return {
        heading: [(language, code) for language, code in BLOCK.findall(text) if language in ("sql", "python")]
        for heading, text in SECTION.findall(PAGE.read_text())
    }


@dataclass(frozen=True)
class Night:
    """What lies in one OUTPUT, read in the plainest way."""

    folder: Path

    def lines(self, pattern: str) -> list[Line]:
        return [
            json.loads(line) for path in sorted(self.folder.glob(pattern)) for line in path.read_text().split("\n")[:-1]
        ]

    @property
    def records(self) -> list[Line]:
        return self.lines("boxes/*.jsonl")

    def object(self, name: str) -> Any:
        return json.loads((self.folder / name).read_text())


@dataclass(frozen=True)
class Nights:
    root: Path
    previous: Night
    last: Night


@pytest.fixture(scope="module")
def nights(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Nights:
    """Two nights: the first is valid, the second is rejected, because too much of what came since is damaged."""
    root = tmp_path_factory.mktemp("nights")
    photos = write_photos(root / "photos", 14)
    Image.new("RGB", (48, 40)).save(photos / "black.png")  # nothing is seen in it
    Image.new("RGB", (64, 30), (255, 80, 80)).save(photos / "flat.png")  # what is seen fills much of it
    runs = root / "boxes"
    options = ["--model", artifact, "--min-score", 0.72, "--part-size", 6]
    _run(0, photos, runs / "2024-06-01", *options)
    shutil.copytree(runs / "2024-06-01", runs / "2024-05-31")
    for index in (1, 2):
        (photos / f"000{index}.png").write_bytes(encoded(100 + index, 60, 50))
    (photos / "0005.png").unlink()
    for name in ("late/a.png", "late/b.png", "late/c.png"):
        (photos / name).parent.mkdir(exist_ok=True)
        (photos / name).write_bytes(b"" if name == "late/c.png" else b"no picture")
    _run(3, photos, runs / "2024-06-02", *options, "--since", runs / "2024-06-01")
    # What a planner that came second leaves behind.
    (runs / "2024-06-02/plan/part-0000000-00000000.jsonl").write_text(
        '{"key":"ghost.png","size":1,"etag":null,"mtime_ns":1,"previous":null}\n'
    )
    for name, day in (("2024-05-31", "2024-05-31"), ("2024-06-01", "2024-06-01"), ("2024-06-02", "2024-06-02")):
        manifest = runs / name / "manifest.json"
        planned = {"planned_at": f"{day}T01:00:00+00:00"}
        manifest.write_text(json.dumps(json.loads(manifest.read_text()) | planned, indent=2))
    return Nights(runs, Night(runs / "2024-06-01"), Night(runs / "2024-06-02"))


def _run(code: int, *arguments: object) -> None:
    result = CliRunner().invoke(main, ["run", *map(str, arguments)])
    assert result.exit_code == code, result.output


def _boxes(night: Night) -> Iterator[tuple[Line, Line]]:
    return ((record, box) for record in night.records for box in record["boxes"])


def _two_dogs(nights: Nights) -> Rows:
    dogs = Counter(record["image"] for record, box in _boxes(nights.last) if box["label"] == "dog")
    return sorted((image, count) for image, count in dogs.items() if count >= 2)


def _labels_by_day(nights: Nights) -> Rows:
    """From the records, not from the manifests' counts; two of the runs are valid."""
    labels = nights.last.object("manifest.json")["boxes"]
    rows = []
    for day in ("2024-05-31", "2024-06-01"):
        counts = Counter(box["label"] for _, box in _boxes(Night(nights.root / day)))
        rows += [(day, label, counts[label]) for label in sorted(labels)]
    return rows


def _rejected(nights: Nights) -> Rows:
    rows = []
    for rule in nights.last.object("quality/validation.json")["rules"]:
        if rule["verdict"] in ("rejected", "warned"):
            rows.append((rule["rule"], rule["verdict"], rule["observed"], rule["sentence"], rule["examples"][0]))
    assert "failed_share" in [row[0] for row in rows]
    return rows


def _compared(nights: Nights) -> Rows:
    ok = [
        {record["image"] for record in night.records if record["status"] == "ok"}
        for night in (nights.previous, nights.last)
    ]
    counts = [
        Counter(box["label"] for record, box in _boxes(night) if record["image"] in ok[0] & ok[1])
        for night in (nights.previous, nights.last)
    ]
    assert counts[0] != counts[1]
    return [(label, counts[0][label], counts[1][label]) for label in sorted({*counts[0], *counts[1]})]


def _failed(nights: Nights) -> Rows:
    rows: dict[tuple[str, str], list[str]] = {}
    for record in nights.last.records:
        if record["status"] != "ok":
            rows.setdefault((record["status"], record["error"]), []).append(record["image"])
    assert len(rows) == 2
    return [(*key, len(images), min(images)) for key, images in sorted(rows.items())]


def _thresholds(nights: Nights) -> Rows:
    scores: dict[str, list[float]] = {}
    for _, box in _boxes(nights.last):
        scores.setdefault(box["label"], []).append(box["score"])
    return [
        (label, len(found), sum(score >= 0.7 for score in found), sum(score >= 0.9 for score in found))
        for label, found in sorted(scores.items())
    ]


def _together(nights: Nights) -> Rows:
    pairs: Counter[tuple[str, str]] = Counter()
    for record in nights.last.records:
        labels = sorted({box["label"] for box in record["boxes"]})
        pairs.update((one, other) for index, one in enumerate(labels) for other in labels[index + 1 :])
    return sorted(((*pair, count) for pair, count in pairs.items()), key=lambda row: (-row[2], row[0], row[1]))


def _large(nights: Nights) -> Rows:
    rows = []
    for record, box in _boxes(nights.last):
        share = box["width"] * box["height"] / (record["width"] * record["height"])
        if share >= 1 / 3:
            rows.append((record["image"], box["label"], round(share, 3)))
    return sorted(rows, key=lambda row: (-row[2], row[0], row[1]))


def _nothing(nights: Nights) -> Rows:
    return sorted(
        (record["image"],) for record in nights.last.records if record["status"] == "ok" and not record["boxes"]
    )


def _new(nights: Nights) -> Rows:
    """0001 and 0002 have changed, three came."""
    sizes = {record["image"].rpartition("/photos/")[2]: record["bytes"] for record in nights.last.records}
    return [(key, sizes[key]) for key in ("0001.png", "0002.png", "late/a.png", "late/b.png", "late/c.png")]


def _blurred(nights: Nights) -> Rows:
    found = [(record["image"], record["image_quality"]) for record in nights.last.records if record["image_quality"]]
    alike = Counter(quality["perceptual_hash"] for _, quality in found)
    assert len(found) == sum(record["status"] == "ok" for record in nights.last.records) < len(nights.last.records)
    rows = [(image, q["sharpness"], q["brightness"], alike[q["perceptual_hash"]]) for image, q in found]
    return sorted(rows, key=lambda row: (row[1], row[0]))[:20]


ANSWERS: dict[str, Callable[[Nights], Rows]] = {
    "1. Which images have two dogs?": _two_dogs,
    "2. How many of each label, day by day?": _labels_by_day,
    "3. What did last night's run reject, and why?": _rejected,
    "4. How do two runs compare?": _compared,
    "5. Which images could not be read?": _failed,
    "6. What would be left at a higher threshold?": _thresholds,
    "7. What is seen together?": _together,
    "8. Where does one object fill a third of the image?": _large,
    "9. In which images was nothing found?": _nothing,
    "10. What was new last night?": _new,
    "11. Which images are blurred, and which are nearly the same?": _blurred,
}


def _value(code: str, names: dict[str, Any]) -> Any:
    """Run a snippet; the value of the expression that it ends with, as a notebook shows it, or None."""
    body = ast.parse(code).body
    last = body.pop() if isinstance(body[-1], ast.Expr) else None
    exec(compile(ast.Module(body, []), PAGE.name, "exec"), names)
    return None if last is None else eval(compile(ast.Expression(last.value), PAGE.name, "eval"), names)


def _set_up(runs: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    for language, code in _blocks()["Setup"]:
        assert language == "python"
        _value(code.replace('"my-boxes"', repr(runs)), names)
    assert names["RUNS"] == runs
    return names


def _answers(heading: str, names: dict[str, Any]) -> list[Rows]:
    """What each snippet under a heading answers."""
    answers = []
    for language, code in _blocks()[heading]:
        if language == "sql":
            answers.append(names["db"].sql(code).fetchall())
        else:
            answers.append(list(_value(code, names).itertuples(index=False, name=None)))
    return answers


def test_the_page_asks_eleven_questions_with_two_answers_each() -> None:
    assert list(_blocks()) == ["Setup", *ANSWERS]
    assert len(ANSWERS) == 11
    for heading in ANSWERS:
        assert len(_blocks()[heading]) == 2, heading


@pytest.fixture(scope="module")
def local(nights: Nights) -> dict[str, Any]:
    return _set_up(str(nights.root))


@pytest.mark.parametrize("heading", ANSWERS)
def test_in_a_folder(nights: Nights, local: dict[str, Any], heading: str) -> None:
    wanted = ANSWERS[heading](nights)
    assert wanted, "the runs must give the question something to find"
    for answer in _answers(heading, local):
        assert answer == wanted


def test_in_s3(nights: Nights, moto: str) -> None:
    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket="boxes")
    for path in nights.root.rglob("*"):
        if path.suffix in (".json", ".jsonl") and "docs" not in path.parts:
            client.upload_file(str(path), "boxes", path.relative_to(nights.root).as_posix())
    S3FileSystem.clear_instance_cache()  # one of an earlier test would ask that test's server
    names = _set_up("s3://boxes")
    for heading, answer in ANSWERS.items():
        assert _answers(heading, names) == [answer(nights)] * 2, heading


def test_columns_are_declared_for_what_has_no_boxes(nights: Nights, tmp_path: Path) -> None:
    """Where nothing was found DuckDB has nothing to guess from; the page's setup reads it."""
    for name in ("2024-06-01", "2024-06-02"):
        shutil.copytree(nights.root / name, tmp_path / name)
        for part in (tmp_path / name / "boxes").iterdir():
            lines = [json.loads(line) | {"boxes": []} for line in part.read_text().split("\n")[:-1]]
            part.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (guessed,) = duckdb.sql(f"SELECT any_value(typeof(boxes)) FROM '{tmp_path}/*/boxes/*.jsonl'").fetchall()
    assert guessed == ("JSON[]",)
    names = _set_up(str(tmp_path))
    for heading in ("1. Which images have two dogs?", "6. What would be left at a higher threshold?"):
        assert _answers(heading, names) == [[], []]
