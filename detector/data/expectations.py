"""Rules over the output of `fetch` and the input of `evaluate`, judged by Great Expectations."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import numpy as np

from detector.common.errors import AnnotationError, ImageError
from detector.common.quality.engine import Engine, start
from detector.common.quality.judge import SUBJECT, Finding, Judge, Rule
from detector.data.annotations import CocoDataset
from detector.data.checks import Split
from detector.runtime.geometry.boxes import Boxes, empty
from detector.runtime.hashes import NEAR, distances, quick_hash

# Rows that are judged at a time; an image has up to two thousand proposals.
BATCH_ROWS = 250_000
# The number of examples in an error's message.
NAMED = 3


class PerImage(Protocol):
    """Boxes of every image by its index, such as the arrays of `proposals.store` or a list."""

    def __getitem__(self, index: int, /) -> Boxes:
        """Return the boxes (N, 4) xyxy of one image."""


def judge_splits(splits: Mapping[str, Split]) -> list[Finding]:
    """Return the findings of every rule over the images and annotations of all splits; reads every image's bytes."""
    engine = start()
    datasets = {name: split.dataset for name, split in splits.items()}
    apart = _judge_apart(engine, splits)
    return [*apart, *_judge_boxes(engine, datasets), *_judge_classes(engine, datasets)]


def judge_inputs(truth: CocoDataset, proposals: PerImage) -> list[Finding]:
    """Return the findings over a split's annotations and over its proposals, one array (N, 4) xyxy for each image."""
    engine = start()
    return [*_judge_boxes(engine, {"test": truth}), *_judge_proposals(engine, truth, proposals)]


def require(findings: Sequence[Finding], advice: str) -> None:
    """Raise AnnotationError if a rule that rejects is broken; it names rule and examples and ends with `advice`."""
    for finding in findings:
        if finding.rule.severity == "reject" and not finding.passed:
            named = "; ".join(finding.examples[:NAMED])
            more = " and more" if len(finding.examples) > NAMED else ""
            raise AnnotationError(
                f"rule {finding.rule.name} is broken: {finding.rule.sentence} {named}{more}. {advice}"
            )


def _judge_apart(engine: Engine, splits: Mapping[str, Split]) -> list[Finding]:
    """Judge that splits share neither names nor contents of images: figures on images seen in training are too good."""
    import pandas as pd

    images = [(name, file, path) for name, split in splits.items() for file, path in split.files.items()]
    contents = (path.read_bytes() for _, _, path in images)
    digests, hashes = zip(*((hashlib.sha256(data).digest(), _hash(data)) for data in contents), strict=True)
    by_name: dict[str, set[str]] = {}
    by_content: dict[bytes, list[tuple[str, str]]] = {}
    for (split, file, _), digest in zip(images, digests, strict=True):
        by_name.setdefault(file, set()).add(split)
        by_content.setdefault(digest, []).append((split, file))
    near = _near_in_other_splits([split for split, _, _ in images], digests, hashes)
    within = Counter((digest, split) for (split, _, _), digest in zip(images, digests, strict=True))
    between = engine.expectations.ExpectColumnValuesToBeBetween

    def once(column: str) -> list[Any]:
        return [between(column=column, max_value=1)]

    judge = Judge(engine, "images", [
        Rule("names_apart", "No two splits hold an image of the same name.", once("splits_by_name")),
        Rule("contents_apart", "No two splits hold the same image.", once("splits_by_content")),
        Rule("contents_once", "No split holds an image twice.", once("copies"), "warn"),
        Rule(
            "near_apart", "No two splits hold nearly the same image, such as a smaller copy.",
            [between(column="near", max_value=0)], "warn",
        ),
    ])  # fmt: skip
    frame = pd.DataFrame({
        SUBJECT: np.arange(len(images)),
        "splits_by_name": [len(by_name[file]) for _, file, _ in images],
        "splits_by_content": [len({split for split, _ in by_content[digest]}) for digest in digests],
        "copies": [within[digest, split] for (split, _, _), digest in zip(images, digests, strict=True)],
        "near": [len(own) for own in near],
    })  # fmt: skip

    def subject(split: str, file: str, digest: bytes, like: list[int]) -> str:
        twins = by_content[digest]
        others = [f"{theirs} ({other})" for other, theirs in twins[: NAMED + 1] if (other, theirs) != (split, file)]
        more = f" and {len(twins) - 1 - NAMED} more" if len(twins) - 1 > NAMED else ""
        same = f" and {', '.join(others[:NAMED])}{more} are the same image" if others else ""
        others = [other for other in sorted(by_name[file]) if other != split]
        also = f", also in {', '.join(others)}" if others else ""
        alike = f", nearly as {images[like[0]][1]} ({images[like[0]][0]})" if like else ""
        return f"{file} ({split}){same}{also}{alike}"

    named = [
        subject(split, file, digest, like) for (split, file, _), digest, like in zip(images, digests, near, strict=True)
    ]
    judge.judge(frame, named)
    return list(judge.findings.values())


def _hash(data: bytes) -> int | None:
    """Return the difference hash of an encoded image, or None if it has none; another rule refuses damaged images."""
    try:
        return quick_hash(data)
    except ImageError:
        return None


def _near_in_other_splits(
    splits: Sequence[str], digests: Sequence[bytes], hashes: Sequence[int | None]
) -> list[list[int]]:
    """Return the near-duplicates of each image in other splits, equal files aside: these have a rule of their own."""
    known = np.array([index for index, own in enumerate(hashes) if own is not None], np.int64)
    every = np.array([hashes[index] for index in known], np.uint64)
    found: list[list[int]] = []
    for split, digest, own in zip(splits, digests, hashes, strict=True):
        close = known[distances(own, every) <= NEAR].tolist() if own is not None else []
        found.append([other for other in close if splits[other] != split and digests[other] != digest])
    return found


def _judge_boxes(engine: Engine, datasets: Mapping[str, CocoDataset]) -> list[Finding]:
    import pandas as pd

    expect = engine.expectations
    classes = max(len(dataset.classes) for dataset in datasets.values())
    judge = Judge(engine, "boxes", [
        *_box_rules(expect, "boxes", "box"),
        Rule(
            "labels_known", "Every box is of a known class.",
            [expect.ExpectColumnValuesToBeBetween(column="label", min_value=0, max_value=classes - 1)],
        ),
    ])  # fmt: skip
    for name, dataset in datasets.items():
        images = dataset.images
        frame = _box_frame(dataset, [image.boxes for image in images])
        labels = np.concatenate([np.zeros(0, np.int64), *(image.labels for image in images)])
        judge.judge(pd.DataFrame(frame | {"label": labels}), [f"{image.file_name} ({name})" for image in images])
    return list(judge.findings.values())


def _judge_proposals(engine: Engine, truth: CocoDataset, proposals: PerImage) -> list[Finding]:
    import pandas as pd

    judge = Judge(engine, "proposals", _box_rules(engine.expectations, "proposals", "proposal"))
    images = truth.images
    step = max(1, BATCH_ROWS // max(1, max((len(proposals[i]) for i in range(len(images))), default=1)))
    for first in range(0, len(images), step):
        some = CocoDataset(truth.classes, images[first : first + step], truth.category_ids)
        frame = _box_frame(some, [proposals[first + i] for i in range(len(some.images))])
        judge.judge(pd.DataFrame(frame), [image.file_name for image in some.images])
    return list(judge.findings.values())


def _box_rules(expect: Any, prefix: str, noun: str) -> list[Rule]:
    between, above = expect.ExpectColumnValuesToBeBetween, expect.ExpectColumnPairValuesAToBeGreaterThanB
    return [
        Rule(f"{prefix}_inside", f"Every {noun} lies inside its image.", [
            between(column="x1", min_value=0), between(column="y1", min_value=0),
            above(column_A="image_width", column_B="x2", or_equal=True),
            above(column_A="image_height", column_B="y2", or_equal=True),
        ]),
        Rule(f"{prefix}_not_empty", f"Every {noun} has a width and a height.", [
            above(column_A="x2", column_B="x1"), above(column_A="y2", column_B="y1"),
        ]),
    ]  # fmt: skip


def _box_frame(dataset: CocoDataset, boxes: Sequence[Boxes]) -> dict[str, Any]:
    """Return the columns of a table with one row for each box; `subject` is the index of its image in the dataset."""
    subject = np.repeat(np.arange(len(boxes)), [len(own) for own in boxes])
    edges = np.concatenate([empty(), *boxes]).astype(np.float64)
    sizes = np.array([(image.width, image.height) for image in dataset.images], np.float64).reshape(-1, 2)[subject]
    names = ("x1", "y1", "x2", "y2", "image_width", "image_height")
    return {SUBJECT: subject} | dict(zip(names, [*edges.T, *sizes.T], strict=True))


def _judge_classes(engine: Engine, datasets: Mapping[str, CocoDataset]) -> list[Finding]:
    """Judge that every split shows every class: without training boxes it is never found, without test boxes no AP."""
    import pandas as pd

    between = engine.expectations.ExpectColumnValuesToBeBetween
    rule = Rule(
        "classes_shown", "Every class has a box in every split.", [between(column="boxes", min_value=1)], "warn"
    )
    judge = Judge(engine, "classes", [rule])
    for name, dataset in datasets.items():
        labels = np.concatenate([np.zeros(0, np.int64), *(image.labels for image in dataset.images)])
        known = (labels >= 0) & (labels < len(dataset.classes))
        counts = np.bincount(labels[known], minlength=len(dataset.classes))
        frame = pd.DataFrame({SUBJECT: np.arange(len(counts)), "boxes": counts})
        judge.judge(frame, [f"{label} ({name})" for label in dataset.classes])
    return list(judge.findings.values())
