"""The template deployed to moto, whose AWS Batch ends every job at once without running it."""

from __future__ import annotations

import functools
import json
import os
import urllib.request
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from moto.core.config import default_user_config
from moto.server import ThreadedMotoServer

from tests.jobs.aws.template_tools import conditioned
from tests.jobs.helpers import encoded


@dataclass(frozen=True)
class Stack:
    """A deployed stack."""

    outputs: dict[str, str]

    @property
    def photos(self) -> str:
        """The input bucket's name."""
        return self.outputs["Input"].removeprefix("s3://").strip("/")

    @property
    def boxes(self) -> str:
        """The output bucket's name."""
        return self.outputs["Output"].removeprefix("s3://").partition("/")[0]

    @property
    def artifacts(self) -> str:
        """The DVC bucket's name."""
        return self.outputs["DvcRemote"].removeprefix("s3://").partition("/")[0]

    def input(self, name: str, count: int) -> str:
        """`count` images in a folder of the input bucket; its URI."""
        for index in range(count):
            client("s3").put_object(Bucket=self.photos, Key=f"{name}/{index:04d}.png", Body=encoded(index))
        return f"{self.outputs['Input']}{name}/"

    def jobs(self, output: str) -> list[dict[str, Any]]:
        """The jobs of one run, with their details, the oldest first."""
        batch = client("batch")
        listed = batch.list_jobs(jobQueue="boxcar", filters=[{"name": "JOB_NAME", "values": ["*"]}])["jobSummaryList"]
        # moto lists children too, which AWS does not.
        parents = [job["jobId"] for job in listed if ":" not in job["jobId"]]
        found = [batch.describe_jobs(jobs=[job_id])["jobs"][0] for job_id in parents]
        return [job for job in found if job["container"]["command"][1] == output]


def client(service: str) -> Any:
    """A client of whatever AWS_ENDPOINT_URL names now."""
    return _client(service, os.environ["AWS_ENDPOINT_URL"])


@functools.cache
def _client(service: str, endpoint: str) -> Any:
    return boto3.session.Session().client(service, endpoint_url=endpoint)


@pytest.fixture(scope="module")
def stack(aws_settings: None) -> Iterator[Stack]:
    """Everything the template has, as far as moto's CloudFormation knows it; scheduled runs use the artifact `tiny`."""
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    endpoint = f"http://{host}:{port}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(default_user_config["batch"], "use_docker", False)
        patch.setenv("AWS_ENDPOINT_URL", endpoint)
        yield _deploy()
    urllib.request.urlopen(urllib.request.Request(f"{endpoint}/moto-api/reset", method="POST")).close()
    server.stop()


def _deploy() -> Stack:
    vpc = client("ec2").create_vpc(CidrBlock="10.0.0.0/16")["Vpc"]["VpcId"]
    given = {
        "ImageTag": "v1",
        "TrainingImageTag": "v1-training",
        "Subnets": client("ec2").create_subnet(VpcId=vpc, CidrBlock="10.0.0.0/24")["Subnet"]["SubnetId"],
        "SecurityGroups": client("ec2").create_security_group(GroupName="out", Description="out", VpcId=vpc)["GroupId"],
        "Artifact": "tiny",
    }
    template = conditioned(given)
    # What moto cannot do without: AWS takes its own role, and makes a name in lower case.
    role = client("iam").create_role(RoleName="batch", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    for resource in template["Resources"].values():
        if resource["Type"] == "AWS::Batch::ComputeEnvironment":
            resource["Properties"]["ServiceRole"] = role
    template["Resources"]["Images"]["Properties"]["RepositoryName"] = "boxcar"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # types that moto leaves out; test_aws_template.py looks at these
        client("cloudformation").create_stack(
            StackName="boxcar",
            TemplateBody=json.dumps(template),
            Parameters=[{"ParameterKey": key, "ParameterValue": value} for key, value in given.items()],
            Capabilities=["CAPABILITY_IAM"],
        )
        described = client("cloudformation").describe_stacks(StackName="boxcar")["Stacks"][0]
    assert described["StackStatus"] == "CREATE_COMPLETE"
    return Stack({output["OutputKey"]: output["OutputValue"] for output in described["Outputs"]})
