"""A small interface to AWS Batch: it submits a job, finds it by its name, and reads its state."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from jobs.errors import IncompleteError, StorageError, UsageError
from jobs.storage.s3_errors import CREDENTIAL_ERRORS, no_credentials, unreachable

# As in storage/s3.py: when one request in five fails, one in 400,000 still fails after this many tries.
ATTEMPTS = 8
ENDED = frozenset({"SUCCEEDED", "FAILED"})


@dataclass(frozen=True)
class Request:
    """A job that is to be submitted."""

    name: str
    command: list[str]  # what follows `boxcar`, the image's entry point
    children: int = 1  # from 2 on the job is an array
    after: str | None = None  # id of the job that must succeed first


@dataclass(frozen=True)
class Job:
    """A job as Batch describes it."""

    id: str
    name: str
    status: str  # SUBMITTED, PENDING, RUNNABLE, STARTING, RUNNING, SUCCEEDED or FAILED
    reason: str | None = None  # why it has this status, where Batch says so
    exit_code: int | None = None
    log_stream: str | None = None
    children: dict[str, int] = field(default_factory=dict)  # children of an array, by status

    @property
    def ended(self) -> bool:
        """Whether its status is its last one."""
        return self.status in ENDED


class Batch:
    """One queue and one job definition of AWS Batch.

    Endpoint, region, credentials and profiles come from the standard AWS settings.
    """

    def __init__(self, queue: str, definition: str) -> None:
        """queue, definition: names or ARNs; a name of a definition means its newest revision."""
        self._queue = queue
        self._definition = definition
        self._client = _batch_client()

    def active(self, name: str) -> Job | None:
        """The newest job of this name that has not ended. Raises UsageError where there is no such queue."""
        with self._errors():
            pages = self._client.get_paginator("list_jobs").paginate(
                jobQueue=self._queue, filters=[{"name": "JOB_NAME", "values": [name]}]
            )
            # With a filter Batch lists jobs of every status, the newest first, and no children.
            found = [_job(item) for page in pages for item in page["jobSummaryList"]]
        return next((job for job in found if not job.ended), None)

    def submit(self, request: Request) -> str:
        """The new job's id. Raises UsageError where there is no such queue or definition."""
        options: dict[str, Any] = {}
        if request.children > 1:
            options["arrayProperties"] = {"size": request.children}
        if request.after is not None:
            options["dependsOn"] = [{"jobId": request.after}]
        with self._errors():
            answer = self._client.submit_job(
                jobName=request.name,
                jobQueue=self._queue,
                jobDefinition=self._definition,
                containerOverrides={"command": request.command},
                **options,
            )
        job_id: str = answer["jobId"]
        return job_id

    def describe(self, job_id: str) -> Job:
        """The job with this id; raises IncompleteError when Batch does not know it any more, a week after its end."""
        with self._errors():
            found = self._client.describe_jobs(jobs=[job_id])["jobs"]
        if not found:
            raise IncompleteError(f"job {job_id}: AWS Batch does not know it any more; submit again to resume")
        return _job(found[0])

    def failed_child(self, job_id: str) -> Job | None:
        """One of the children of an array that failed, or None."""
        with self._errors():
            found = self._client.list_jobs(arrayJobId=job_id, jobStatus="FAILED", maxResults=1)["jobSummaryList"]
        return self.describe(found[0]["jobId"]) if found else None

    @contextlib.contextmanager
    def _errors(self) -> Iterator[None]:
        """Turn botocore's errors into ours."""
        from botocore.exceptions import BotoCoreError, ClientError

        where = f"AWS Batch, queue {self._queue}, definition {self._definition}"
        try:
            yield
        except ClientError as error:
            code, message = error.response["Error"].get("Code", "unknown"), error.response["Error"].get("Message", "")
            if code == "ClientException":  # the queue or the definition is not there, or cannot be used
                raise UsageError(f"{where}: {message}; check --queue, --definition and the region") from error
            raise StorageError(
                f"{where}: {message} ({code}); check the role's policy and the credentials, then submit again"
            ) from error
        except BotoCoreError as error:
            raise unreachable(where, error, "AWS Batch") from error
        except CREDENTIAL_ERRORS as error:
            raise no_credentials(where, error) from error


def _job(found: dict[str, Any]) -> Job:
    """A job from an entry of ListJobs or DescribeJobs."""
    container = found.get("container", {})
    return Job(
        id=found["jobId"],
        name=found["jobName"],
        status=found["status"],
        reason=found.get("statusReason"),
        exit_code=container.get("exitCode"),
        log_stream=container.get("logStreamName"),
        children=found.get("arrayProperties", {}).get("statusSummary", {}),
    )


def _batch_client() -> Any:
    try:
        import boto3
        from botocore.config import Config
        from botocore.exceptions import BotoCoreError
    except ImportError as error:
        raise UsageError(
            "boxcar submit: boto3 is not installed; install the extra: pip install '.[job]' in the project's folder"
        ) from error
    try:
        return boto3.session.Session().client(
            "batch", config=Config(retries={"mode": "standard", "total_max_attempts": ATTEMPTS})
        )
    except (BotoCoreError, *CREDENTIAL_ERRORS) as error:  # a malformed endpoint is a ValueError
        raise no_credentials("AWS Batch", error) from error
