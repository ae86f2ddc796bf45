"""What the template allows and protects, and which events send a mail."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
import yaml
from moto.events.models import EventPattern

from tests.jobs.aws.template_tools import FULL, NETWORK, TEMPLATE, conditioned, rendered

BATCH = "arn:aws:batch:us-east-1:123456789012:job-definition/boxcar"

Statements = list[tuple[list[str], list[str], Any]]


def _statements(properties: dict[str, Any]) -> Statements:
    """Actions, resources and condition of every statement of a role or a managed policy; all allow."""
    documents = [properties[name] for name in ("PolicyDocument",) if name in properties]
    documents += [policy["PolicyDocument"] for policy in properties.get("Policies", [])]
    found = []
    for statement in (statement for document in documents for statement in document["Statement"]):
        assert statement["Effect"] == "Allow" and not {"NotAction", "NotResource"} & set(statement)
        found.append((_listed(statement["Action"]), _listed(statement["Resource"]), statement.get("Condition")))
    return found


def _listed(value: str | list[str]) -> list[str]:
    return [value] if isinstance(value, str) else value


def _below(prefix: str) -> dict[str, dict[str, str]]:
    return {"StringLike": {"s3:prefix": f"{prefix}*"}}


def test_each_role_may_do_exactly_this() -> None:
    resources = rendered(FULL)
    assert _statements(resources["PhotographsToBoxes"]) == [
        (["s3:GetObject"], ["arn:aws:s3:::<Photographs>/2024/*"], None),
        (["s3:ListBucket"], ["arn:aws:s3:::<Photographs>"], _below("2024/")),
        (["s3:GetObject", "s3:PutObject"], ["arn:aws:s3:::<Boxes>/boxes/*"], None),
        (["s3:ListBucket"], ["arn:aws:s3:::<Boxes>"], _below("boxes/")),
        (["kms:Decrypt"], ["arn:key-in"], None),
        (["kms:Decrypt", "kms:GenerateDataKey"], ["arn:key-out"], None),
    ]
    own: dict[str, Statements] = {
        "WorkerRole": [],
        "DriverRole": [
            (["s3:GetObject"], ["arn:aws:s3:::<Artifacts>/artifacts/*"], None),
            (["s3:ListBucket"], ["arn:aws:s3:::<Artifacts>"], _below("artifacts/")),
            (["batch:SubmitJob"], ["<Queue>", f"{BATCH}-worker", f"{BATCH}-worker:*"], None),
            (["batch:DescribeJobs", "batch:ListJobs"], ["*"], None),
        ],
        "TrainingRole": [
            (
                ["s3:GetObject", "s3:PutObject"],
                ["arn:aws:s3:::<Artifacts>/dvc/*", "arn:aws:s3:::<Artifacts>/checkpoints/*"],
                None,
            ),
            (
                ["s3:ListBucket"],
                ["arn:aws:s3:::<Artifacts>"],
                {"StringLike": {"s3:prefix": ["dvc/*", "checkpoints/*"]}},
            ),
            (["kms:Decrypt", "kms:GenerateDataKey"], ["arn:key-out"], None),
        ],
        "ExecutionRole": [
            (["ecr:GetAuthorizationToken"], ["*"], None),
            (
                ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"],
                ["<Images.Arn>"],
                None,
            ),
            (["logs:CreateLogStream", "logs:PutLogEvents"], ["<Logs.Arn>"], None),
        ],
        "SchedulerRole": [
            (["batch:SubmitJob"], ["<Queue>", f"{BATCH}-driver", f"{BATCH}-driver:*"], None),
            (["sqs:SendMessage"], ["<MissedRuns.Arn>"], None),
        ],
        "InstanceRole": [],
    }
    types = {name: resource["Type"] for name, resource in conditioned(FULL)["Resources"].items()}
    assert {name for name, kind in types.items() if kind == "AWS::IAM::Role"} == set(own)
    for role, statements in own.items():
        assert _statements(resources[role]) == statements, role
    managed = {role: resources[role]["ManagedPolicyArns"] for role in own if "ManagedPolicyArns" in resources[role]}
    assert managed == {
        "WorkerRole": ["<PhotographsToBoxes>"],
        "DriverRole": ["<PhotographsToBoxes>"],
        "InstanceRole": ["arn:aws:iam::aws:policy/service-role/AmazonEC2ContainerServiceforEC2Role"],
    }


def test_each_role_is_for_one_service_and_what_jobs_have_for_this_account_only() -> None:
    resources = rendered(FULL)
    services = {
        "WorkerRole": "ecs-tasks", "DriverRole": "ecs-tasks", "TrainingRole": "ecs-tasks",
        "ExecutionRole": "ecs-tasks", "SchedulerRole": "scheduler", "InstanceRole": "ec2",
    }  # fmt: skip
    for role, service in services.items():
        (statement,) = resources[role]["AssumeRolePolicyDocument"]["Statement"]
        assert statement["Principal"] == {"Service": f"{service}.amazonaws.com"}
        if role not in ("ExecutionRole", "InstanceRole"):  # of agents, which may not say for whom they ask
            assert statement["Condition"] == {"StringEquals": {"aws:SourceAccount": "123456789012"}}


def test_jobs_have_the_role_that_is_theirs() -> None:
    resources = rendered(FULL)
    assert {
        name: resources[name]["ContainerProperties"]["JobRoleArn"]
        for name in ("Worker", "GpuWorker", "Driver", "Training")
    } == {
        "Worker": "<WorkerRole.Arn>",
        "GpuWorker": "<WorkerRole.Arn>",
        "Driver": "<DriverRole.Arn>",
        "Training": "<TrainingRole.Arn>",
    }


def test_without_keys_no_role_may_use_one() -> None:
    text = json.dumps({name: rendered(NETWORK)[name] for name in ("PhotographsToBoxes", "DriverRole")})
    assert "kms" not in text


def test_buckets_that_exist_are_used_and_not_made() -> None:
    given = NETWORK | {"InputBucket": "photos", "OutputBucket": "runs", "DvcBucket": "dvc", "OutputPrefix": ""}
    types = [resource["Type"] for resource in conditioned(given)["Resources"].values()]
    assert "AWS::S3::Bucket" not in types and "AWS::S3::BucketPolicy" not in types
    resources = rendered(given)
    assert [found[1] for found in _statements(resources["PhotographsToBoxes"])] == [
        ["arn:aws:s3:::photos/*"], ["arn:aws:s3:::photos"], ["arn:aws:s3:::runs/*"], ["arn:aws:s3:::runs"],
    ]  # fmt: skip
    command = resources["Driver"]["ContainerProperties"]["Command"]
    assert command[1:3] == ["s3://photos/", "s3://runs/runs/{scheduled_time}/"]


@pytest.mark.parametrize(("bucket", "policy"), [
    ("Photographs", "PhotographsPolicy"), ("Boxes", "BoxesPolicy"), ("Artifacts", "ArtifactsPolicy"),
])  # fmt: skip
@pytest.mark.parametrize("given", [NETWORK, FULL])
def test_buckets_are_private_encrypted_and_outlive_the_stack(given: dict[str, str], bucket: str, policy: str) -> None:
    resource, properties = conditioned(given)["Resources"][bucket], rendered(given)[bucket]
    assert resource["DeletionPolicy"] == resource["UpdateReplacePolicy"] == "Retain"
    assert all(properties["PublicAccessBlockConfiguration"].values())
    assert len(properties["PublicAccessBlockConfiguration"]) == 4
    (rule,) = properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    algorithm = rule["ServerSideEncryptionByDefault"]["SSEAlgorithm"]
    assert algorithm == ("aws:kms" if "OutputKeyArn" in given else "AES256")
    assert any("AbortIncompleteMultipartUpload" in rule for rule in properties["LifecycleConfiguration"]["Rules"])
    (statement,) = rendered(given)[policy]["PolicyDocument"]["Statement"]
    assert statement["Effect"] == "Deny" and statement["Resource"] == [f"<{bucket}.Arn>", f"<{bucket}.Arn>/*"]
    assert statement["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_runs_expire_only_where_it_was_asked_for_and_latest_json_never() -> None:
    def expiring(given: dict[str, str]) -> list[str]:
        rules = rendered(given)["Boxes"]["LifecycleConfiguration"]["Rules"]
        return [rule["Prefix"] for rule in rules if "ExpirationInDays" in rule]

    assert expiring(NETWORK) == []
    assert expiring(FULL) == ["boxes/runs/"]


def test_everything_at_rest_is_encrypted_and_nothing_has_a_public_address() -> None:
    resources = rendered(FULL)
    assert resources["Images"]["EncryptionConfiguration"] and resources["Images"]["ImageTagMutability"] == "IMMUTABLE"
    assert resources["MissedRuns"]["SqsManagedSseEnabled"] is True
    assert resources["Alarms"]["KmsMasterKeyId"] == "<TopicKey>"
    launch = resources["GpuLaunch"]["LaunchTemplateData"]
    assert all(device["Ebs"]["Encrypted"] for device in launch["BlockDeviceMappings"])
    assert launch["MetadataOptions"] == {"HttpTokens": "required", "HttpPutResponseHopLimit": 1}
    for name in ("Worker", "Driver"):
        assert resources[name]["ContainerProperties"]["NetworkConfiguration"] == {"AssignPublicIp": "DISABLED"}
    for name in ("AlarmsPolicy", "TopicKey"):
        document = resources[name].get("PolicyDocument") or resources[name]["KeyPolicy"]
        assert all(statement["Principal"] != "*" for statement in document["Statement"])


def test_logs_are_kept_for_a_while_and_all_jobs_write_there() -> None:
    resources = rendered(FULL)
    assert resources["Logs"]["RetentionInDays"] == 90
    for name in ("Worker", "GpuWorker", "Driver", "Training"):
        log = resources[name]["ContainerProperties"]["LogConfiguration"]
        assert (log["LogDriver"], log["Options"]["awslogs-group"]) == ("awslogs", "<Logs>")
        assert resources[name]["Timeout"]["AttemptDurationSeconds"] >= 6 * 3600


@pytest.mark.parametrize("queue", ["TrainingQueue", "GpuQueue"])
def test_gpus_are_spot_first_and_there_are_none_without_an_image_for_them(queue: str) -> None:
    resources = rendered(FULL)
    order = resources[queue]["ComputeEnvironmentOrder"]
    names = [item["ComputeEnvironment"].strip("<>") for item in sorted(order, key=lambda item: item["Order"])]
    assert [resources[name]["ComputeResources"]["Type"] for name in names] == ["SPOT", "EC2"]
    assert all(resources[name]["ComputeResources"]["MinvCpus"] == 0 for name in names)  # nothing idle costs
    assert resources["Training"]["ContainerProperties"]["Command"][:2] == ["detector", "job"]
    without = {resource["Type"] for resource in conditioned(NETWORK)["Resources"].values()}
    assert not without & {"AWS::EC2::LaunchTemplate", "AWS::IAM::InstanceProfile"}
    assert not {"Training", "GpuWorker", "GpuQueue"} & set(conditioned(NETWORK)["Resources"])


@pytest.mark.parametrize(("tag", "there", "absent"), [
    ("GpuImageTag", {"GpuQueue", "GpuWorker"}, {"TrainingQueue", "Training", "TrainingRole"}),
    ("TrainingImageTag", {"TrainingQueue", "Training", "TrainingRole"}, {"GpuQueue", "GpuWorker"}),
])  # fmt: skip
def test_workers_on_gpus_and_trainings_need_each_their_own_image_alone(
    tag: str, there: set[str], absent: set[str]
) -> None:
    given = NETWORK | {tag: "v2"}
    made = set(conditioned(given)["Resources"])
    assert there | {"SpotGpus", "OnDemandGpus", "GpuLaunch", "InstanceRole", "InstanceProfile"} <= made
    assert not absent & made
    # No reference leads to what is not made.
    references = set(re.findall(r"<(\w+)[.>]", json.dumps(rendered(given))))
    assert references - {"aws"} <= made | {"job", "id", "reason", "code"}


def test_a_worker_on_a_gpu_is_tried_again_as_the_other_one_is() -> None:
    resources = rendered(FULL)
    worker, other = resources["GpuWorker"], resources["Worker"]
    assert worker["RetryStrategy"]["EvaluateOnExit"] == other["RetryStrategy"]["EvaluateOnExit"]
    assert worker["ContainerProperties"]["Image"].endswith(":v1-gpu")
    assert {"Type": "GPU", "Value": "1"} in worker["ContainerProperties"]["ResourceRequirements"]


def test_the_shipped_artifact_is_used_unless_one_is_named() -> None:
    command = rendered(NETWORK)["Driver"]["ContainerProperties"]["Command"]
    assert command[-1].endswith("latest.json")
    command = rendered(NETWORK | {"Artifact": "june"})["Driver"]["ContainerProperties"]["Command"]
    assert command[-2:] == ["--model", "s3://<Artifacts>/artifacts/june/"]


@pytest.mark.parametrize(
    ("queue", "job", "container", "mails"),
    [
        ("boxcar", "boxcar-1a2b3c4d-5e6f7a8b-finish", {"exitCode": 3}, ["Rejected"]),
        ("boxcar", "boxcar-1a2b3c4d-5e6f7a8b-finish", {"exitCode": 5}, ["Failed"]),
        ("boxcar", "boxcar-1a2b3c4d-5e6f7a8b-finish", {}, ["Failed"]),  # unrun: an array failed before it
        ("boxcar", "boxcar-1a2b3c4d-5e6f7a8b-work", {"exitCode": 6}, []),  # the job that depends on it sends one
        ("boxcar", "boxcar-driver", {"exitCode": 2}, ["Failed"]),
        ("boxcar-gpu", "boxcar-1a2b3c4d-5e6f7a8b-finish", {"exitCode": 3}, ["Rejected"]),
        ("boxcar-gpu", "boxcar-1a2b3c4d-5e6f7a8b-finish", {}, ["Failed"]),
        ("boxcar-training", "tuesday", {"exitCode": 1}, ["Failed"]),
        ("somebody-else's", "boxcar-driver", {"exitCode": 1}, []),
    ],
)
@pytest.mark.parametrize("status", ["FAILED", "RUNNING", "SUCCEEDED"])
def test_failed_and_rejected_runs_are_told_of_once(
    status: str, queue: str, job: str, container: dict[str, int], mails: list[str]
) -> None:
    resources = rendered(FULL)
    event = {
        "source": "aws.batch",
        "detail-type": "Batch Job State Change",
        "detail": {
            "status": status,
            "jobName": job,
            "jobQueue": {"boxcar": "<Queue>", "boxcar-gpu": "<GpuQueue>", "boxcar-training": "<TrainingQueue>"}.get(
                queue, queue
            ),
            "container": container,
        },
    }
    matched = []
    for rule in ("Failed", "Rejected"):
        assert [target["Arn"] for target in resources[rule]["Targets"]] == ["<Alarms>"]
        pattern = resources[rule]["EventPattern"]
        if EventPattern(json.dumps(pattern), pattern).matches_event(event):  # type: ignore[arg-type]
            matched.append(rule)
    assert matched == (mails if status == "FAILED" else [])


def test_the_template_has_no_aliases_which_cloudformation_does_not_read() -> None:
    kinds = {type(token) for token in yaml.scan(TEMPLATE.read_text())}
    assert not kinds & {yaml.AliasToken, yaml.AnchorToken}


def test_no_text_of_the_template_leads_nowhere() -> None:
    assert "${" not in json.dumps(rendered(FULL))
