"""Deploy the template, submit runs, and run the jobs' commands as processes, as AWS Batch would run them.

Types that moto's CloudFormation leaves out go to their own APIs.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from jobs.aws.submit import IMAGES_A_CHILD
from jobs.formats import Manifest
from tests.jobs.aws.conftest import Stack, client
from tests.jobs.aws.template_tools import FULL, NETWORK, conditioned, load_template, rendered
from tests.jobs.helpers import Boxcar

pytestmark = pytest.mark.slow

QUEUED = ("--queue", "boxcar", "--definition", "boxcar-worker")


def _run(command: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "jobs", *command],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )


def _next_step(definition: str, exit_code: int) -> str:
    """Return what AWS Batch does after an attempt that ended with `exit_code`: the first condition that matches."""
    found = client("batch").describe_job_definitions(jobDefinitionName=definition)["jobDefinitions"][0]
    for condition in found["retryStrategy"]["evaluateOnExit"]:
        if fnmatchcase(str(exit_code), condition.get("onExitCode", "")):
            return str(condition["action"]).upper()
    return "RETRY"


def _put_artifact(stack: Stack, artifact: Path) -> None:
    for name in ("model.json", "model.onnx"):
        client("s3").put_object(
            Bucket=stack.artifacts, Key=f"artifacts/tiny/{name}", Body=(artifact / name).read_bytes()
        )


def _modified(stack: Stack, prefix: str) -> dict[str, Any]:
    found = client("s3").list_objects_v2(Bucket=stack.boxes, Prefix=prefix)
    return {item["Key"]: item["LastModified"] for item in found.get("Contents", [])}


def test_the_scheduled_driver_submits_one_run_for_its_time(stack: Stack, artifact: Path, boxcar: Boxcar) -> None:
    stack.input("nightly", 2)
    _put_artifact(stack, artifact)
    definition = client("batch").describe_job_definitions(jobDefinitionName="boxcar-driver")["jobDefinitions"][0]
    time = "2024-06-01T02:00:00Z"  # as EventBridge Scheduler writes it
    command = [time if word == "Ref::scheduled_time" else word for word in definition["containerProperties"]["command"]]
    boxcar(*command)
    output = f"{stack.outputs['Output']}runs/2024-06-01T02-00-00Z/"
    latest = f"{stack.outputs['Output']}latest.json"
    work, finish = stack.jobs(output)
    assert work["container"]["command"] == ["work", output]
    assert "arrayProperties" not in work  # one shard is a plain job
    assert finish["container"]["command"] == ["finish", output, "--max-failed", "0.1", "--latest", latest]
    assert finish["dependsOn"] == [{"jobId": work["jobId"]}]
    assert {job["jobDefinition"].rpartition("/")[2] for job in (work, finish)} == {"boxcar-worker:1"}
    assert work["jobName"].removesuffix("-work") == finish["jobName"].removesuffix("-finish")

    boxcar(*command)  # delivered once more: the same OUTPUT and the same plan
    assert [job["jobName"] for job in stack.jobs(output)[2:]] == [work["jobName"], finish["jobName"]]


def test_submitted_jobs_publish_and_submitting_again_resumes(stack: Stack, artifact: Path, boxcar: Boxcar) -> None:
    output, prefix = f"{stack.outputs['Output']}june/", "boxes/june/"
    submit = ["submit", stack.input("june", 5), output, *QUEUED, "--model", artifact, "--part-size", "2"]
    said = boxcar(*submit, "--shards", "2").stdout
    assert "3 of 3 to be made" in said and "2 children" in said
    work, finish = stack.jobs(output)
    assert work["arrayProperties"]["size"] == 2 and finish["dependsOn"] == [{"jobId": work["jobId"]}]

    child = {"AWS_BATCH_JOB_ARRAY_INDEX": "0", "AWS_BATCH_JOB_ARRAY_SIZE": "2"}
    failed = _run(work["container"]["command"], AWS_ENDPOINT_URL="http://127.0.0.1:9", AWS_MAX_ATTEMPTS="1", **child)
    assert failed.returncode == 5 and _next_step("boxcar-worker", 5) == "RETRY"
    assert _run(work["container"]["command"], **child).returncode == 0
    made = _modified(stack, f"{prefix}boxes/")
    assert list(made) == [f"{prefix}boxes/part-0000000.jsonl", f"{prefix}boxes/part-0000002.jsonl"]

    # The other child failed for good, and so did the finishing job. One part is missing.
    assert "1 of 3 to be made" in boxcar(*submit).stdout
    work, finish = stack.jobs(output)[2:]
    assert "arrayProperties" not in work
    resumed = _run(work["container"]["command"])
    assert resumed.returncode == 0
    assert [json.loads(line)["skipped"] for line in resumed.stderr.splitlines()] == [True, True, False]
    assert made.items() < _modified(stack, f"{prefix}boxes/").items()

    done = _run(finish["container"]["command"])
    assert done.returncode == 0, done.stderr
    assert ["verdict", "valid"] in [line.split() for line in done.stdout.splitlines()]  # what the metric filter counts
    stored = client("s3").get_object(Bucket=stack.boxes, Key=f"{prefix}manifest.json")["Body"].read()
    manifest = Manifest.model_validate_json(stored)
    assert (manifest.status, manifest.images, len(manifest.parts)) == ("valid", 5, 3)

    assert "verdict" in boxcar(*submit).stdout
    assert len(stack.jobs(output)) == 4  # a run that is published needs no job


def test_retries_follow_the_exit_codes(stack: Stack) -> None:
    worker = {code: _next_step("boxcar-worker", code) for code in (1, 2, 3, 4, 5, 6, 137, 143)}
    assert [code for code, step in worker.items() if step == "RETRY"] == [4, 5, 143]
    assert _next_step("boxcar-training", 143) == "RETRY" and _next_step("boxcar-training", 1) == "EXIT"


def test_a_failed_job_is_named_and_submitting_again_is_the_advice(
    stack: Stack, artifact: Path, boxcar: Boxcar, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOTO_SIMPLE_BATCH_FAIL_AFTER", "0")
    output = f"{stack.outputs['Output']}bad/"
    submit = ["submit", stack.input("bad", 3), output, *QUEUED, "--model", artifact]
    result = boxcar(*submit, "--part-size", "1", "--shards", "3", "--wait", code=4)
    array = stack.jobs(output)[0]["jobId"]
    assert f"job {array}:" in result.stderr  # a child, not the array or the job that waited
    assert "log stream" in result.stderr and "submit again to resume" in result.stderr


def test_a_queue_or_definition_that_is_not_there_is_wrong_usage(stack: Stack, artifact: Path, boxcar: Boxcar) -> None:
    submit = ["submit", stack.input("lost", 1), f"{stack.outputs['Output']}lost/", "--model", artifact]
    result = boxcar(*submit, "--queue", "nowhere", "--definition", "boxcar-worker", code=2)
    assert "queue nowhere" in result.stderr and "check --queue" in result.stderr
    result = boxcar(*submit, "--queue", "boxcar", "--definition", "nothing", code=2)
    assert "definition nothing" in result.stderr


def test_a_dry_run_submits_and_writes_nothing(stack: Stack, artifact: Path, boxcar: Boxcar) -> None:
    output = f"{stack.outputs['Output']}dry/"
    submit = ["submit", stack.input("dry", 1), output, *QUEUED, "--model", artifact]
    assert "nothing was written" in boxcar(*submit, "--dry-run").stdout
    assert stack.jobs(output) == [] and _modified(stack, "boxes/dry/") == {}


def test_a_child_works_for_a_quarter_of_an_hour() -> None:
    """The rate is the one that docs/benchmarks.md has for the two vCPUs of a child."""
    assert 14 * 60 < IMAGES_A_CHILD / 44.3 < 16 * 60


def test_the_schedule_submits_in_its_time_zone_and_keeps_what_was_not_delivered(stack: Stack) -> None:
    properties = rendered(FULL)["Nightly"]
    assert json.loads(properties["Target"]["Input"]) == {
        "JobName": "boxcar-driver",
        "JobQueue": "<Queue>",
        "JobDefinition": "boxcar-driver",
        "Parameters": {"scheduled_time": "<aws.scheduler.scheduled-time>"},
    }
    role, queue = "arn:aws:iam::123456789012:role/r", "arn:aws:sqs:us-east-1:123456789012:q"
    target = properties["Target"] | {"RoleArn": role, "DeadLetterConfig": {"Arn": queue}}
    client("scheduler").create_schedule(Name="nightly", **(properties | {"Target": target}))
    made = client("scheduler").get_schedule(Name="nightly")
    assert (made["State"], made["ScheduleExpressionTimezone"]) == ("ENABLED", "Europe/Berlin")
    assert made["Target"]["Arn"] == "arn:aws:scheduler:::aws-sdk:batch:submitJob"
    assert made["Target"]["DeadLetterConfig"]["Arn"] == queue
    assert rendered(NETWORK)["Nightly"]["State"] == "DISABLED"


def test_what_the_schedule_sends_is_a_job_that_batch_takes(stack: Stack) -> None:
    """The universal target names the fields of SubmitJob in its own case."""
    sent = json.loads(rendered(FULL)["Nightly"]["Target"]["Input"]) | {"JobQueue": "boxcar"}
    client("batch").submit_job(**{name[0].lower() + name[1:]: value for name, value in sent.items()})
    definition = client("batch").describe_job_definitions(jobDefinitionName="boxcar-driver")["jobDefinitions"][0]
    placeholders = {word for word in definition["containerProperties"]["command"] if word.startswith("Ref::")}
    assert placeholders == {f"Ref::{name}" for name in sent["Parameters"]}


def test_alarms_are_what_their_services_take(stack: Stack) -> None:
    resources = rendered(FULL)
    cloudwatch, topic = client("cloudwatch"), stack.outputs["AlarmTopic"]
    for name in ("Late", "Missed"):
        assert resources[name]["AlarmActions"] == ["<Alarms>"]
        cloudwatch.put_metric_alarm(AlarmName=name, **(resources[name] | {"AlarmActions": [topic]}))
    late = cloudwatch.describe_alarms(AlarmNames=["Late"])["MetricAlarms"][0]
    assert late["TreatMissingData"] == "breaching" and late["Period"] * late["EvaluationPeriods"] == 30 * 3600
    # CloudWatch looks back seven days at most, where periods are of an hour or more.
    assert load_template()["Parameters"]["LateAfterHours"]["MaxValue"] * late["Period"] <= 7 * 24 * 3600
    # Where the schedule is off there is no such alarm. It would be in alarm already when the schedule is turned on.
    assert "Late" not in conditioned(NETWORK)["Resources"]

    published = resources["Published"]
    transformation = published["MetricTransformations"][0]
    assert (transformation["MetricNamespace"], transformation["MetricName"]) == (late["Namespace"], late["MetricName"])
    client("logs").put_metric_filter(
        logGroupName=stack.outputs["LogGroup"],
        filterName="published",
        filterPattern=published["FilterPattern"],
        metricTransformations=[{key[0].lower() + key[1:]: value for key, value in transformation.items()}],
    )
    subscription = resources["AlarmsByEmail"]
    client("sns").subscribe(**(subscription | {"TopicArn": topic}))
    assert "AlarmsByEmail" not in rendered(NETWORK)


def test_rules_reach_the_topic(stack: Stack) -> None:
    for rule in client("events").list_rules()["Rules"]:
        (target,) = client("events").list_targets_by_rule(Rule=rule["Name"])["Targets"]
        assert target["Arn"] == stack.outputs["AlarmTopic"]
        assert json.loads(target["InputTransformer"]["InputTemplate"]).startswith("Boxcar: ")
