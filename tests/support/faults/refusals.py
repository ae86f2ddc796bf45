"""Storage that refuses: buckets that are not there, credentials, policies."""

from __future__ import annotations

import contextlib
import json
import logging
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3

from tests.support.faults.runs import require
from tests.support.faults.world import Place, World

_NOWHERE = Place("s3://fault-nowhere/x/", Path("/nonexistent"))


def missing_buckets(world: World, name: str) -> str:
    """INPUT's, and OUTPUT's."""
    output = world.output(name, s3=False)
    world.boxcar(world.planning("run", output, _NOWHERE)).require(5, "fault-nowhere", "the bucket does not exist")
    require(not (output.folder / "plan.json").exists(), "a plan of nothing")
    world.boxcar(world.planning("run", _NOWHERE)).require(5, "fault-nowhere", "the bucket does not exist")
    return "exit 5 with one line"


def wrong_credentials(world: World, name: str) -> str:
    """From the beginning, and after the plan; then the right ones resume."""
    output = world.output(name, s3=False)
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        wrong = world.environment(**{variable: "wrong"})
        world.boxcar(world.planning("run", output), wrong).require(5, "wrong credentials")
    world.boxcar(world.planning("plan", output)).require(0)
    world.boxcar(["work", str(output)], wrong).require(5, "wrong credentials")
    require(not (output.folder / "boxes").exists(), "records, though nothing was read")
    world.require_resumed(output)
    return "exit 5 with one line, no record; resumed, bytes equal"


@contextlib.contextmanager
def moto_server() -> Iterator[str]:
    """moto's S3, which knows policies; rclone's does not."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)  # it prints a line a request
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield f"http://{host}:{port}"
    finally:
        urllib.request.urlopen(urllib.request.Request(f"http://{host}:{port}/moto-api/reset", method="POST")).close()
        server.stop()


def _check_permissions(endpoint: str, after: float) -> None:
    """moto asks for permissions only after a number of calls."""
    headers = {"Content-Type": "text/plain"}
    url = f"{endpoint}/moto-api/reset-auth"
    urllib.request.urlopen(urllib.request.Request(url, str(after).encode(), headers, method="POST")).close()


def denied(world: World, name: str) -> str:
    """A policy that denies the listing, the writing or every read ends the run, which leaves no record behind."""
    with moto_server() as endpoint:
        session = boto3.session.Session(aws_access_key_id="a", aws_secret_access_key="b", region_name="us-east-1")
        s3, iam = (session.client(service, endpoint_url=endpoint) for service in ("s3", "iam"))
        for bucket in ("photos", "boxes"):
            s3.create_bucket(Bucket=bucket)
        for path in sorted(world.photos.folder.iterdir())[:12]:
            s3.put_object(Bucket="photos", Key=path.name, Body=path.read_bytes())
        iam.create_user(UserName="job")
        key = iam.create_access_key(UserName="job")["AccessKey"]
        environment = world.environment(
            AWS_ENDPOINT_URL=endpoint,
            AWS_ACCESS_KEY_ID=key["AccessKeyId"],
            AWS_SECRET_ACCESS_KEY=key["SecretAccessKey"],
        )
        source = Place("s3://photos/", Path())
        folder = world.output(name, s3=False)
        _check_permissions(endpoint, 0)
        try:
            _deny(iam, endpoint, "s3:ListBucket", "arn:aws:s3:::photos")
            world.boxcar(world.planning("run", folder, source), environment).require(5, "access denied", "s3://photos/")
            require(not (folder.folder / "plan.json").exists(), "a plan of nothing")
            _deny(iam, endpoint, "s3:PutObject", "arn:aws:s3:::boxes/*")
            boxes = Place("s3://boxes/run/", Path())
            world.boxcar(world.planning("run", boxes, source), environment).require(5, "access denied", "s3://boxes/")
            _deny(iam, endpoint, "s3:GetObject", "arn:aws:s3:::photos/*")
            world.boxcar(world.planning("run", folder, source), environment).require(5, "access denied to 10 images")
        finally:
            _check_permissions(endpoint, float("inf"))
    require(not list(folder.folder.glob("boxes/*")), "records of images that nobody may read")
    return "exit 5 with one line, no record"


def _deny(iam: Any, endpoint: str, action: str, resource: str) -> None:
    _check_permissions(endpoint, float("inf"))
    statements = [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
        {"Effect": "Deny", "Action": action, "Resource": resource},
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName="job", PolicyName="p", PolicyDocument=policy)
    _check_permissions(endpoint, 0)
