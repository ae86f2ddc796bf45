"""Stage `fetch`: turns any sources into three COCO files and a folder of images.

Writes `train.json`, `val.json`, `test.json`, `images/`, `report.json`, `validation.json` and `runs.json`, the published
runs that labels come from.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from detector.common.errors import AnnotationError
from detector.common.files import lies_in
from detector.common.quality.judge import Finding
from detector.data.annotations import save_coco
from detector.data.archives import local_path
from detector.data.checks import Split
from detector.data.expectations import judge_splits, require
from detector.data.settings import FetchSettings
from detector.data.sides import load_sides, save_sides
from detector.data.sources import read_sources
from detector.stages.layout import LABEL_RUNS, PRODUCTS, SIDES, SPLITS
from detector.stages.metrics_file import write_json

# The folder of unfinished work, on the disk of the result so that finished files are renamed.
_UNFINISHED = ".unfinished"
_NOT_THERE = (
    "Files that git ignores, such as data/, are not in the copy that `dvc exp run --temp` or `--queue` makes: add the "
    "option --copy-paths, or name an absolute path"
)
_IN_PRODUCT = "lies in {}, which a stage replaces: copy the source to another folder, and name that"


@dataclass(frozen=True)
class SplitReport:
    """The numbers of one split; `per_class` counts boxes, including ignored ones, and `left_out` objects of classes
    that the settings do not list."""

    images: int
    images_without_boxes: int
    boxes: int
    ignored: int
    crowds: int
    clipped: int
    dropped: int
    size_mismatched: int
    turned: int
    scaled: int
    frame_assumed: int
    per_class: dict[str, int]
    left_out: dict[str, int]


@dataclass(frozen=True)
class FetchReport:
    """The numbers of each split, the findings of the rules, and sentences about what was decided for the user."""

    splits: dict[str, SplitReport]
    findings: list[Finding]  # one for each rule; no rule that rejects is broken
    notices: list[str]

    def metrics(self) -> dict[str, dict[str, Any]]:
        """Return plain numbers for `dvc metrics`."""
        return {name: asdict(split) for name, split in self.splits.items()}


def _report(split: Split, left_out: Mapping[str, int]) -> SplitReport:
    images, classes = split.dataset.images, split.dataset.classes
    counts = np.zeros(len(classes), np.int64)
    for image in images:
        counts += np.bincount(image.labels, minlength=len(classes))
    return SplitReport(
        images=len(images),
        images_without_boxes=sum(len(image.boxes) == 0 for image in images),
        boxes=int(counts.sum()),
        ignored=sum(int(image.ignore.sum()) for image in images),
        crowds=sum(int(image.crowd.sum()) for image in images),
        clipped=split.repairs.clipped,
        dropped=split.repairs.dropped,
        size_mismatched=split.repairs.mismatched,
        turned=split.repairs.turned,
        scaled=split.repairs.scaled,
        frame_assumed=split.repairs.assumed_upright + split.repairs.assumed_stored,
        per_class={name: int(count) for name, count in zip(classes, counts, strict=True)},
        left_out=dict(sorted(left_out.items())),
    )


def _check_sources(settings: FetchSettings, out: Path) -> None:
    """Raise AnnotationError if a source lies in `out` or in another stage's result, or is not there."""
    named = [(f"{source.format}.{key}", value) for source in settings.sources for key, value in source.named()]
    for key, value in named:
        if (path := local_path(value)) is None:
            continue
        for product in (out, *PRODUCTS):
            if lies_in(path, product):
                raise AnnotationError(f"{value}: {_IN_PRODUCT.format(product)} (fetch.sources: {key})")
        if not path.is_absolute() and not key.endswith("cache") and not path.exists():
            raise AnnotationError(f"{value}: is not in {Path.cwd()} (fetch.sources: {key}). {_NOT_THERE}")


def _refuse_own_images(splits: dict[str, Split], out: Path, scratch: Path) -> None:
    """Raise AnnotationError if an image lies in `out`: a link may lead there, or a source may contain `out`."""
    for split in splits.values():
        for path in split.files.values():
            if not path.is_relative_to(scratch) and lies_in(path, out):
                raise AnnotationError(f"{path}: {_IN_PRODUCT.format(out)}")


def _replace(out: Path, new: Path, old: Path) -> None:
    """Put everything in `new` into `out`, and an earlier result into `old`: renames leave little time for a kill."""
    for name in ("images", *(f"{name}.json" for name in (*SPLITS, "report", "validation", "runs", "settings"))):
        if os.path.lexists(out / name):
            (out / name).rename(old / name)
    for path in new.iterdir():
        path.rename(out / path.name)


def fetch(settings: FetchSettings, seed: int, out: Path, sides_file: Path = SIDES) -> FetchReport:
    """Write the sources' images and truths into `out`, in place of those of an earlier run.

    sides_file: splits.csv, which is read first, and gets a line for each new image that the stage puts on a side. The
    same settings, seed, sources and sides give the same bytes. The new files appear when all are complete; what a
    killed run left is removed first. Raises ArchiveError or AnnotationError; then `out` is as it was, except if a rule
    is broken: then it has no split, and validation.json in it names the images.
    """
    _check_sources(settings, out)
    work = out / _UNFINISHED
    for left in (work, *out.glob(".unpacked-*")):  # the second are those of earlier versions
        shutil.rmtree(left) if left.is_dir() and not left.is_symlink() else left.unlink(missing_ok=True)
    new, old, scratch = work / "new", work / "old", work / "scratch"
    images = new / "images"
    for folder in (images, old, scratch):
        folder.mkdir(parents=True)
    try:
        sides = load_sides(sides_file)
        before = dict(sides)
        joined = read_sources(settings, seed, scratch, sides)
        splits = joined.splits
        _refuse_own_images(splits, out, scratch)
        splits["train"].dataset.require_boxes("train")
        findings = judge_splits(splits)
        write_json(new / "validation.json", [finding.summary() for finding in findings])
        try:
            require(findings, "Correct the source, then fetch again")
        except AnnotationError:
            _replace(out, new, old)
            raise
        for split in splits.values():
            for file_name, path in split.files.items():
                target = images / file_name
                target.parent.mkdir(parents=True, exist_ok=True)
                if path.is_relative_to(scratch):
                    path.rename(target)
                else:
                    shutil.copyfile(path, target)
        report = FetchReport(
            {name: _report(split, joined.left_out[name]) for name, split in splits.items()}, findings, joined.notices
        )
        for name, split in splits.items():
            save_coco(split.dataset, new / f"{name}.json")
        write_json(new / LABEL_RUNS, [run.model_dump(mode="json") for run in joined.runs])
        (new / "report.json").write_text(json.dumps(report.metrics(), indent=2) + "\n")
        if sides != before:
            save_sides(sides, sides_file)
        _replace(out, new, old)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return report
