"""Watches submitted jobs until they end."""

from __future__ import annotations

import time
from collections.abc import Callable

from jobs.aws.batch import Batch, Job
from jobs.errors import IncompleteError

# A child takes minutes; DescribeJobs is limited to some requests a second for a whole account.
PAUSE_SECONDS = 15.0
REJECTED = 3  # the exit code of `boxcar finish` when it has published a rejected run


def follow(batch: Batch, work: str | None, finish: str, notice: Callable[[str], None]) -> None:
    """Wait until the job `finish` has published; calls `notice` with every change.

    Returns for both verdicts. Raises IncompleteError, with the cause as far as it is known, when nothing was published.
    """
    shown = ""
    while True:
        jobs = [batch.describe(job_id) for job_id in (work, finish) if job_id is not None]
        text = "; ".join(f"{job.name.rpartition('-')[2]}: {_state(job)}" for job in jobs)
        if text != shown:
            notice(text)
            shown = text
        if jobs[-1].ended:
            break
        time.sleep(PAUSE_SECONDS)
    last = jobs[-1]
    if last.status == "SUCCEEDED" or last.exit_code == REJECTED:
        return
    broken = jobs[0] if jobs[0].status == "FAILED" else last
    broken = (batch.failed_child(broken.id) if broken.children else None) or broken
    raise IncompleteError(f"{_cause(broken)}; look at its log, then submit again to resume")


def _state(job: Job) -> str:
    """The status, or those of an array's children."""
    counts = [f"{count:,} {status.lower()}" for status, count in job.children.items() if count]
    return ", ".join(counts) or job.status.lower()


def _cause(job: Job) -> str:
    code = "" if job.exit_code is None else f", exit code {job.exit_code}"
    log = "" if job.log_stream is None else f", log stream {job.log_stream}"
    return f"job {job.id} ({job.name}) failed: {job.reason or 'no reason given'}{code}{log}"
