"""`boxcar submit` without AWS: what is submitted when, and how jobs are followed, against a queue in memory."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.aws import batch as batch_module
from jobs.aws import follow as follow_module
from jobs.aws.batch import Batch, Job, Request
from jobs.aws.follow import follow
from jobs.aws.submit import IMAGES_A_CHILD, MOST_CHILDREN, children_for
from jobs.errors import IncompleteError, StorageError
from jobs.formats import Cost, Lineage, Manifest, Plan, PlanPart
from jobs.plan import require_plan
from jobs.storage import open_store
from tests.conftest import Bucket
from tests.jobs.helpers import Boxcar, write_photos

pytestmark = pytest.mark.slow


class Queue:
    """AWS Batch as a list of jobs; `describe` lets each job take its next step."""

    def __init__(self) -> None:
        self.requests: list[Request] = []
        self.jobs: dict[str, Job] = {}
        self.steps: dict[str, list[Job]] = {}
        self.child: Job | None = None

    def active(self, name: str) -> Job | None:
        return next((job for job in reversed(self.jobs.values()) if job.name == name and not job.ended), None)

    def submit(self, request: Request) -> str:
        job_id = f"id-{len(self.requests)}"
        self.requests.append(request)
        self.jobs[job_id] = Job(job_id, request.name, "PENDING")
        return job_id

    def describe(self, job_id: str) -> Job:
        if self.steps.get(job_id):
            self.jobs[job_id] = self.steps[job_id].pop(0)
        return self.jobs[job_id]

    def failed_child(self, job_id: str) -> Job | None:
        return self.child

    def end(self, status: str = "FAILED") -> None:
        """Every job ends."""
        self.jobs = {job_id: Job(job_id, job.name, status) for job_id, job in self.jobs.items()}


@pytest.fixture
def queue(monkeypatch: pytest.MonkeyPatch) -> Queue:
    """Stands in for AWS Batch."""
    found = Queue()
    monkeypatch.setattr(batch_module, "Batch", lambda *_: found)
    monkeypatch.setattr(follow_module, "PAUSE_SECONDS", 0.0)
    return found


@pytest.fixture
def submit(bucket: Bucket, artifact: Path, tmp_path: Path) -> list[str]:
    """The command over six images in three parts; OUTPUT is its third word."""
    bucket.upload(write_photos(tmp_path / "photos", 6), "photos")
    return [
        "submit", f"{bucket.uri}/photos/", f"{bucket.uri}/boxes/", "--model", str(artifact), "--part-size", "2",
        "--queue", "q", "--definition", "d",
    ]  # fmt: skip


def test_jobs_that_have_not_ended_are_followed_and_not_doubled(queue: Queue, submit: list[str], boxcar: Boxcar) -> None:
    boxcar(*submit)
    assert [request.after for request in queue.requests] == [None, "id-0"]
    said = boxcar(*submit).stdout
    assert len(queue.requests) == 2 and "id-0" in said and "id-1" in said and "submitted before" in said


def test_a_driver_that_was_killed_between_its_two_jobs_is_repaired(
    queue: Queue, submit: list[str], boxcar: Boxcar
) -> None:
    boxcar(*submit)
    del queue.jobs["id-1"]
    boxcar(*submit)
    assert [(request.name[-6:], request.after) for request in queue.requests[2:]] == [("finish", "id-0")]


def test_another_output_has_jobs_of_its_own_though_its_plan_is_the_same(
    queue: Queue, submit: list[str], boxcar: Boxcar
) -> None:
    boxcar(*submit)
    boxcar(*submit[:2], f"{submit[2]}again/", *submit[3:])
    runs = {request.name.split("-")[1] for request in queue.requests}
    assert len(runs) == 1 and len({request.name for request in queue.requests}) == 4


def test_only_missing_parts_are_submitted_and_a_finish_that_waits_for_a_failed_array_is_left_alone(
    queue: Queue, submit: list[str], boxcar: Boxcar
) -> None:
    boxcar(*submit, "--shards", "3")
    assert queue.requests[0].children == 3
    boxcar("work", submit[2], "--shard", "0", "--shards", "3")
    queue.jobs["id-0"] = Job("id-0", queue.jobs["id-0"].name, "FAILED")  # the other one is still PENDING
    assert "2 of 3 to be made" in boxcar(*submit, "--shards", "3").stdout
    work, finish = queue.requests[2:]
    assert (work.children, finish.after) == (2, "id-2")


def test_a_part_that_is_damaged_is_missing(queue: Queue, submit: list[str], bucket: Bucket, boxcar: Boxcar) -> None:
    boxcar(*submit)
    boxcar("work", submit[2])
    queue.end()
    bucket.put("boxes/boxes/part-0000001.jsonl", b"{}\n")
    assert "1 of 3 to be made" in boxcar(*submit).stdout


def test_when_no_part_is_missing_only_the_finish_is_submitted_with_what_decides_the_verdict(
    queue: Queue, submit: list[str], bucket: Bucket, boxcar: Boxcar
) -> None:
    boxcar("plan", *submit[1:-4])
    boxcar("work", submit[2])
    policy = ["--max-failed", "0.25", "--strict", "score_drift", "--latest", f"{bucket.uri}/latest.json"]
    assert "none needed" in boxcar(*submit, *policy).stdout
    (finish,) = queue.requests
    assert (finish.command, finish.after) == (["finish", submit[2], *policy], None)


def test_an_empty_plan_is_published_at_once(
    queue: Queue, submit: list[str], bucket: Bucket, boxcar: Boxcar, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Published(Exception):
        pass

    def finish(*_: object) -> None:
        raise Published

    monkeypatch.setattr("jobs.publish.finish", finish)
    with pytest.raises(AssertionError, match="Published"):
        boxcar("submit", f"{bucket.uri}/nothing/", *submit[2:])
    assert queue.requests == []


def test_waiting_tells_what_changes_and_ends_with_the_verdict(
    queue: Queue, submit: list[str], bucket: Bucket, boxcar: Boxcar
) -> None:
    def states(number: int, *found: Job) -> None:
        queue.steps[f"id-{number}"] = list(found)

    states(
        0, Job("id-0", "a-work", "PENDING", children={"RUNNING": 2, "FAILED": 0}), Job("id-0", "a-work", "SUCCEEDED")
    )
    states(1, Job("id-1", "a-finish", "PENDING"), Job("id-1", "a-finish", "FAILED", exit_code=3))
    boxcar("plan", *submit[1:-4])
    plan = require_plan(open_store(submit[2]))
    bucket.put("boxes/manifest.json", _rejected(plan).pretty())  # what the job would have written
    result = boxcar(*submit, "--wait", code=3)
    assert "work: 2 running; finish: pending\nwork: succeeded; finish: failed\n" in result.stderr
    assert ["verdict", "rejected"] in [line.split() for line in result.stdout.splitlines()]


def _rejected(plan: Plan) -> Manifest:
    lineage = Lineage(
        plan_digest=plan.digest, artifact_name="tiny", artifact_sha256="", onnx_sha256="", git_revision=None,
        data_digest="", params_digest="", boxcar=None, onnxruntime=[],
    )  # fmt: skip
    return Manifest(
        run=plan.run, status="rejected", planned_at=plan.planned_at, published_at=plan.planned_at, input=plan.input,
        images=plan.images, statuses={}, boxes={}, min_score=0.0, max_failed=0.1, validation_sha256="", parts=[],
        lineage=lineage, cost=Cost(cpu_seconds=0.0, bytes_read=0),
    )  # fmt: skip


def test_a_finish_that_ended_well_without_a_manifest_is_not_believed(
    queue: Queue, submit: list[str], boxcar: Boxcar
) -> None:
    queue.steps["id-1"] = [Job("id-1", "a-finish", "SUCCEEDED")]
    assert "has ended without a manifest" in boxcar(*submit, "--wait", code=4).stderr


@pytest.mark.parametrize(("exit_code", "status"), [(None, "SUCCEEDED"), (3, "FAILED")])
def test_both_verdicts_end_the_waiting(exit_code: int | None, status: str) -> None:
    queue = Queue()
    queue.jobs["f"] = Job("f", "x-finish", status, exit_code=exit_code)
    follow(queue, None, "f", lambda _: None)  # type: ignore[arg-type]


def test_a_failure_names_the_child_its_exit_code_and_its_log() -> None:
    queue = Queue()
    queue.jobs["w"] = Job("w", "x-work", "FAILED", children={"FAILED": 1, "SUCCEEDED": 9})
    queue.jobs["f"] = Job("f", "x-finish", "FAILED", "Dependent Job failed")
    queue.child = Job("w:7", "x-work", "FAILED", "Essential container in task exited", 6, "worker/default/1")
    with pytest.raises(IncompleteError) as caught:
        follow(queue, "w", "f", lambda _: None)  # type: ignore[arg-type]
    assert str(caught.value) == (
        "job w:7 (x-work) failed: Essential container in task exited, exit code 6, log stream worker/default/1; "
        "look at its log, then submit again to resume"
    )


def test_the_schedule_names_the_run_in_utc_and_without_colons(
    queue: Queue, submit: list[str], bucket: Bucket, boxcar: Boxcar
) -> None:
    scheduled = [*submit[:2], f"{bucket.uri}/runs/{{scheduled_time}}/", *submit[3:]]
    boxcar(*scheduled, "--scheduled-time", "2024-06-01T02:00:00+02:00")
    assert queue.requests[0].command == ["work", f"{bucket.uri}/runs/2024-06-01T00-00-00Z/"]


@pytest.mark.parametrize(
    ("output", "options", "message"),
    [
        ("s3://b/{scheduled_time}/", [], "belong together"),
        ("s3://b/o/", ["--scheduled-time", "2024-06-01T02:00:00Z"], "belong together"),
        ("s3://b/{scheduled_time}/", ["--scheduled-time", "Ref::scheduled_time"], "is not a time"),
        ("s3://b/{scheduled_time}/", ["--scheduled-time", "2024-06-01T02:00:00"], "no time zone"),
        ("s3://b/o/", ["--shards", "10001"], "from 1 to 10,000"),
        ("s3://b/o/", ["--shards", "0"], "from 1 to 10,000"),
        ("s3://b/o/", ["--shards", "many"], "takes auto"),
        ("boxes/", [], "cannot read a folder"),
    ],
)
def test_wrong_usage_of_submit(queue: Queue, boxcar: Boxcar, output: str, options: list[str], message: str) -> None:
    result = boxcar("submit", "s3://photos/", output, "--queue", "q", "--definition", "d", *options, code=2)
    assert message in " ".join(result.stderr.split())
    assert queue.requests == []


def test_without_a_network_submit_ends_with_one_line(
    boxcar: Boxcar, submit: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(batch_module, "ATTEMPTS", 1)
    boxcar("plan", *submit[1:-4])
    monkeypatch.setenv("AWS_ENDPOINT_URL_BATCH", "http://127.0.0.1:9")
    result = boxcar(*submit, code=5)
    assert result.stderr.splitlines()[-1].startswith("error: AWS Batch, queue q, definition d: ")


def test_without_a_region_submit_says_so(boxcar: Boxcar, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_DEFAULT_REGION", "AWS_REGION"):
        monkeypatch.delenv(name)
    with pytest.raises(StorageError, match="the AWS settings or credentials cannot be used"):
        Batch("q", "d")


def _plan(counts: list[int], copies: int = 0) -> Plan:
    parts = [PlanPart(name=f"part-{index:07d}", count=count, sha256="") for index, count in enumerate(counts)]
    return Plan(
        run="", digest="", planned_at="2024-06-01T00:00:00+00:00", input="", artifact_sha256="", min_score=0.0,
        part_size=1, images=sum(counts), other_files=0, copies=copies, parts=parts,
    )  # fmt: skip


@given(st.lists(st.integers(1, 2 * IMAGES_A_CHILD), min_size=1, max_size=50), st.none() | st.integers(1, MOST_CHILDREN))
def test_there_are_never_more_children_than_missing_parts(counts: list[int], wanted: int | None) -> None:
    plan = _plan(counts)
    children = children_for(plan, plan.parts, wanted)
    assert 1 <= children <= len(counts)
    if wanted is None and children < len(counts):
        assert (children - 1) * IMAGES_A_CHILD < sum(counts) <= children * IMAGES_A_CHILD


def test_a_hundred_million_images_take_a_quarter_of_the_largest_array_and_a_billion_no_larger_one() -> None:
    hundred_million = _plan([2_000] * 50_000)
    assert children_for(hundred_million, hundred_million.parts, None) == 2_500
    billion = _plan([20_000] * 50_000)
    assert children_for(billion, billion.parts, None) == MOST_CHILDREN


def test_records_that_are_copied_take_no_children() -> None:
    unchanged, changed = _plan([500] * 2_000, copies=1_000_000), _plan([500] * 2_000, copies=900_000)
    assert children_for(unchanged, unchanged.parts, None) == 1
    assert children_for(changed, changed.parts, None) == 3


@pytest.mark.parametrize(("shards", "parts", "lost"), [(1000, 5000, 3), (25, 2000, 7), (2, 10, 1)])
def test_parts_that_one_child_left_are_shared_by_the_next_ones(shards: int, parts: int, lost: int) -> None:
    """They lie `shards` apart: a number of children that divides it would give all of them to one again."""
    plan = _plan([IMAGES_A_CHILD] * parts)
    missing = plan.parts[lost::shards]
    children = children_for(plan, missing, shards)
    loads = Counter(plan.parts.index(part) % children for part in missing)
    assert max(loads.values()) <= 2 * -(-len(missing) // min(shards, len(missing)))
