"""An INPUT that changes after it was listed."""

from __future__ import annotations

from tests.jobs.faults.checks import assert_ended
from tests.support.faults.inputs import changed_between, changed_during
from tests.support.faults.runs import Happened
from tests.support.faults.world import World

STATUSES = {"nothing": "ok", "deleted": "missing", "changed": "changed"}


def _assert_statuses(happened: Happened) -> None:
    """One record for each image that was listed, in their order; the new image has none."""
    done = happened.facts["done"]
    assert set(done.values()) == set(STATUSES)
    expected = [(key, STATUSES[what]) for key, what in sorted(done.items())]
    assert list(happened.facts["statuses"].items()) == expected


def test_between_plan_and_work(world: World) -> None:
    happened = changed_between(world, "changed-between")
    assert_ended(happened, {"plan": 0, "work": 0})
    _assert_statuses(happened)


def test_while_work_goes_on(world: World) -> None:
    happened = changed_during(world, "changed-during")
    assert_ended(happened, {"run": 0})
    _assert_statuses(happened)
