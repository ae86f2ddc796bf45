"""Runs of the batch job to report on."""

from __future__ import annotations

from pathlib import Path

import pytest

from jobs.formats import Plan, RuleResult, Validation
from jobs.plan import require_plan
from jobs.storage import open_store
from tests.detector.common.pages.browser import browser
from tests.jobs.helpers import Boxcar, encoded, write_photos

__all__ = ["browser"]

# As a path: the folder "<script>alert(1)<" and an image in it.
SCRIPT = "<script>alert(1)</script>.png"


def rule(
    name: str, verdict: str = "passed", examples: list[str] | None = None, sentence: str = "All is well."
) -> RuleResult:
    """One rule's verdict."""
    return RuleResult.model_validate(
        {
            "rule": name, "sentence": sentence, "severity": "warn", "verdict": verdict, "checked": 9,
            "broken": len(examples or []), "observed": f"{len(examples or [])} of 9", "examples": examples or [],
        }
    )  # fmt: skip


def judged(output: Path, *rules: RuleResult) -> Validation:
    """Write what the rules say of a run, as `boxcar validate` does."""
    plan = require_plan(open_store(str(output)))
    validation = Validation(run=plan.run, status="valid", max_failed=0.1, rules=list(rules))
    (output / "quality").mkdir(exist_ok=True)
    (output / "quality/validation.json").write_bytes(validation.pretty())
    return validation


def plan_of(output: Path) -> Plan:
    """The plan of a run in a folder."""
    return require_plan(open_store(str(output)))


@pytest.fixture
def worked(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> Path:
    """A run of 9 images in 3 parts, all made, judged by one rule: one image is empty, one damaged, one has an evil
    name."""
    photos = write_photos(tmp_path / "photos", 6)
    (photos / "empty.png").write_bytes(b"")
    (photos / "damaged.png").write_bytes(encoded(1)[:60])
    (photos / SCRIPT).parent.mkdir()
    (photos / SCRIPT).write_bytes(encoded(7))
    output = tmp_path / "run"
    boxcar("plan", photos, output, "--model", artifact, "--part-size", 3, "--min-score", 0.05)
    boxcar("work", output)
    judged(output, rule("complete"))
    return output
