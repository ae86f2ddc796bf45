"""Let storage refuse: buckets that do not exist, wrong credentials, policies."""

from __future__ import annotations

import contextlib
import json
import logging
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3

from tests.support.faults.runs import Happened, read_state
from tests.support.faults.world import Place, World

_NOWHERE = Place("s3://fault-nowhere/x/", Path("/nonexistent"))


def missing_buckets(world: World, name: str) -> Happened:
    """Run with an INPUT, then with an OUTPUT, whose bucket does not exist."""
    output, happened = world.output(name, s3=False), Happened()
    happened.commands["input"] = world.boxcar(world.planning("run", output, _NOWHERE))
    happened.states["input"] = read_state(output.folder)
    happened.commands["output"] = world.run(_NOWHERE)
    return happened


def wrong_credentials(world: World, name: str) -> Happened:
    """Run and work with a wrong key and a wrong secret; then run with the right ones."""
    output, happened = world.output(name, s3=False), Happened()
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        wrong = world.environment(**{variable: "wrong"})
        happened.commands[f"run, wrong {variable}"] = world.run(output, wrong)
    happened.commands["plan"] = world.boxcar(world.planning("plan", output))
    happened.commands["work, wrong secret"] = world.boxcar(["work", str(output)], wrong)
    happened.states["refused"] = read_state(output.folder)
    happened.commands["resumed"] = world.run(output)
    happened.states["end"] = read_state(output.folder)
    return happened


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


def denied(world: World, name: str) -> Happened:
    """Run under a policy that denies first the listing, then the writing, then every read."""
    happened = Happened()
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
        source, boxes = Place("s3://photos/", Path()), Place("s3://boxes/run/", Path())
        folder = world.output(name, s3=False)
        _check_permissions(endpoint, 0)
        try:
            for what, resource, output in (
                ("ListBucket", "arn:aws:s3:::photos", folder),
                ("PutObject", "arn:aws:s3:::boxes/*", boxes),
                ("GetObject", "arn:aws:s3:::photos/*", folder),
            ):
                _deny(iam, endpoint, f"s3:{what}", resource)
                happened.commands[what] = world.boxcar(world.planning("run", output, source), environment)
                happened.states[what] = read_state(folder.folder)
        finally:
            _check_permissions(endpoint, float("inf"))
    return happened


def _deny(iam: Any, endpoint: str, action: str, resource: str) -> None:
    _check_permissions(endpoint, float("inf"))
    statements = [
        {"Effect": "Allow", "Action": "s3:*", "Resource": "*"},
        {"Effect": "Deny", "Action": action, "Resource": resource},
    ]
    policy = json.dumps({"Version": "2012-10-17", "Statement": statements})
    iam.put_user_policy(UserName="job", PolicyName="p", PolicyDocument=policy)
    _check_permissions(endpoint, 0)
