"""The plan of a published run, with which its images are read again."""

from __future__ import annotations

from jobs.errors import UsageError
from jobs.formats import Plan
from jobs.plan import require_plan
from jobs.published_run import PublishedRun


def published_plan(run: PublishedRun) -> Plan:
    """The plan that the run was made by; raises UsageError when OUTPUT has another one."""
    plan = require_plan(run.store)
    if plan.digest != run.manifest.lineage.plan_digest:
        raise UsageError(
            f"{run.store.uri}: its plan is not that of the published run; put the published plan.json back"
        )
    return plan
