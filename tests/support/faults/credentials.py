"""Let credentials expire while a run is under way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from tests.support.faults.proxy import Choose, Request, Watch
from tests.support.faults.runs import Happened, read_state
from tests.support.faults.world import World
from tests.support.local_s3 import ACCESS_KEY, SECRET_KEY

# How S3, and servers that imitate it, refuse credentials whose time is over.
REFUSALS = ("400 ExpiredToken", "400 TokenRefreshRequired", "403 InvalidToken")
_TOKEN = "x-amz-security-token"
# A program that gives credentials, as `aws sso` and `aws-vault` do. The token is the time of its end.
_PROGRAM = """#!/bin/sh
ends=$(date -d '+{seconds} seconds' +%s)
date -u -d "@$ends" +'{{"Version": 1, "AccessKeyId": "{key}", "SecretAccessKey": "{secret}",
  "SessionToken": "%s", "Expiration": "%Y-%m-%dT%H:%M:%SZ"}}'
"""


def _refuse_old(refusal: str, half_done: Callable[[], bool]) -> Choose:
    """Refuse the token "old" from the middle of the run on."""

    def choose(request: Request) -> str | None:
        return refusal if request.headers.get(_TOKEN) == "old" and half_done() else None

    return choose


def expired(world: World, name: str, refusals: Sequence[str] = REFUSALS) -> Happened:
    """Let the token of fixed credentials expire in mid-run; then run again with a new one. Once for each refusal.

    Commands and states: "stopped" and "resumed", with the refusal. facts["refused"] counts the refused requests.
    """
    happened = Happened(facts={"refused": 0})
    for refusal in refusals:
        output = world.output(f"{name}-{refusal.replace(' ', '-').lower()}")

        def half_done(boxes: Path = output.folder / "boxes") -> bool:
            return any(boxes.glob("*.jsonl"))

        with world.proxy() as state:
            state.choose = _refuse_old(refusal, half_done)
            for what, token in (("stopped", "old"), ("resumed", "new")):
                environment = world.environment(AWS_ENDPOINT_URL=state.endpoint, AWS_SESSION_TOKEN=token)
                happened.commands[f"{what}, {refusal}"] = world.run(output, environment)
                happened.states[f"{what}, {refusal}"] = read_state(output.folder)
            happened.facts["refused"] += state.faults.total()
    return happened


def renewed(world: World, name: str, seconds: int) -> Happened:
    """Run with credentials that a program gives for some seconds, and that it gives anew.

    The first image is held back until the credentials of its request have expired. facts: the number of different
    "tokens" that were used, and of requests that were "refused" because their token was too old.
    """
    output = world.output(name)
    program, config = world.scratch / f"{name}.sh", world.scratch / f"{name}.config"
    program.write_text(_PROGRAM.format(seconds=seconds, key=ACCESS_KEY, secret=SECRET_KEY))
    program.chmod(0o755)
    config.write_text(f"[default]\ncredential_process = {program}\n")
    environment = world.environment(AWS_CONFIG_FILE=str(config))
    for variable in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        del environment[variable]

    def choose(request: Request) -> str | None:
        return "400 ExpiredToken" if float(request.headers[_TOKEN]) < time.time() else None

    with world.proxy() as state:
        state.choose, state.before = choose, _hold_first_image()
        ended = world.run(output, environment | {"AWS_ENDPOINT_URL": state.endpoint})
        tokens = {request.headers[_TOKEN] for request in state.requests}
    facts = {"tokens": len(tokens), "refused": state.faults.total(), "requests": len(state.requests)}
    return Happened({"run": ended}, {"end": read_state(output.folder)}, facts)


def _hold_first_image() -> Watch:
    first = threading.Lock()

    def before(request: Request) -> bool:
        image = request.method == "GET" and request.path.startswith("/fault-photos/in/")
        if image and first.acquire(blocking=False):
            time.sleep(max(0.0, float(request.headers[_TOKEN]) - time.time()))
        return True

    return before
