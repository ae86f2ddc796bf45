"""Requests that fail on their way, and answers that belong to something else."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

from tests.support.faults.proxy import FAULTS, Answer, Request, proxy, seeded
from tests.support.faults.records import records
from tests.support.faults.refusals import moto_server
from tests.support.faults.runs import require, require_same, require_whole_parts
from tests.support.faults.world import Place, World

# A run that gives up is started again this often; it keeps its finished parts.
_TRIES = 15


def disturbed(world: World, name: str, seed: int, share: float = 0.2, faults: tuple[str, ...] = FAULTS) -> str:
    """A run with a share of its requests disturbed ends well, or with exit 5 and resumes."""
    output = world.output(name)
    codes: list[int] = []
    with world.proxy() as state:
        state.choose = seeded(seed, share, faults)
        environment = world.environment(AWS_ENDPOINT_URL=state.endpoint)
        while not codes or (codes[-1] != 0 and len(codes) < _TRIES):
            ended = world.boxcar(world.planning("run", output), environment)
            ended.require(5 if ended.code else 0)
            require_whole_parts(output.folder, world.undisturbed)
            codes.append(ended.code)
    require(codes[-1] == 0, f"{_TRIES} runs, and none came through")
    require_same(output.folder, world.undisturbed)
    require(state.faults.total() > 0, "no request was disturbed")
    exits = "exit 0 at once" if codes == [0] else f"exits {', '.join(map(str, codes))}"
    return f"{state.faults.total()} of {len(state.requests)} requests disturbed; {exits}; bytes equal"


def lengths_lost(world: World, name: str) -> str:
    """Connections that end after the ETag and before the length of an image: HTTP then takes the body for empty.

    The images were stored without a checksum, as most of S3's are; one would tell.
    """
    output = world.output(name)

    def alter(_request: Request, answer: Answer) -> Answer:
        headers = tuple(pair for pair in answer.headers if not pair[0].lower().startswith("x-amz-checksum"))
        return replace(answer, headers=headers)

    def choose(request: Request) -> str | None:
        image = request.method == "GET" and request.path.startswith("/fault-photos/in/")
        return "cut before length" if image and request.attempt == 1 else None

    with world.proxy() as state:
        state.choose, state.alter = choose, alter
        world.boxcar(world.planning("run", output), world.environment(AWS_ENDPOINT_URL=state.endpoint)).require(0)
    require_same(output.folder, world.undisturbed)
    return f"{state.faults.total()} answers cut; exit 0 at once; bytes equal"


def unreachable(world: World, name: str) -> str:
    """From some request on nothing answers any more: exit 5, and the same command resumes."""
    output = world.output(name)
    with world.proxy() as state:
        # After the first part's records were written.
        def choose(_request: Request) -> str | None:
            return "reset" if any((output.folder / "boxes").glob("*.jsonl")) else None

        state.choose = choose
        environment = world.environment(AWS_ENDPOINT_URL=state.endpoint, AWS_MAX_ATTEMPTS="2")
        world.boxcar(world.planning("run", output), environment).require(5, "check the network")
    require_whole_parts(output.folder, world.undisturbed)
    world.require_resumed(output)
    return "exit 5 with one line; resumed, bytes equal"


def other_version(world: World, name: str) -> str:
    """Whole answers that carry another version's ETag: the records say `changed`."""
    output = world.output(name)
    world.boxcar(world.planning("plan", output)).require(0)
    keys = sorted(path.name for path in world.photos.folder.iterdir())
    chosen = set(keys[::4])

    def alter(request: Request, answer: Answer) -> Answer:
        if request.method != "GET" or request.path.partition("?")[0].rpartition("/")[2] not in chosen:
            return answer
        headers = tuple(
            (n, '"0123456789abcdef0123456789abcdef"' if n.lower() == "etag" else v) for n, v in answer.headers
        )
        return replace(answer, headers=headers)

    with world.proxy() as state:
        state.alter = alter
        world.boxcar(["work", str(output)], world.environment(AWS_ENDPOINT_URL=state.endpoint)).require(0)
    found = {record["image"].rpartition("/")[2]: record["status"] for record in records(output.folder)}
    require(found == {key: "changed" if key in chosen else "ok" for key in keys}, f"{Counter(found.values())}")
    return f"{len(chosen)} records `changed`, {len(keys) - len(chosen)} `ok`"


def first_answers_lost(world: World, name: str) -> str:
    """On a server that knows conditional writes: the plan and latest.json are stored, and the job is not told.

    Its second try is refused, because the object is there: its own.
    """
    source = Place(str(world.photos.folder), world.photos.folder)
    output = Place(f"s3://{name}/run/", Path())

    def choose(request: Request) -> str | None:
        stored = request.method == "PUT" and request.path.endswith((".json", ".jsonl")) and request.attempt == 1
        return "lost answer" if stored else None

    with moto_server() as endpoint, proxy(endpoint) as state:
        client = world.client(endpoint)
        client.create_bucket(Bucket=name)
        state.choose = choose
        environment = world.environment(AWS_ENDPOINT_URL=state.endpoint)
        arguments = [*world.planning("run", output, source), "--latest", f"s3://{name}/latest.json"]
        world.boxcar(arguments, environment).require(0)

        def read(key: str) -> dict[str, Any]:
            found: dict[str, Any] = json.loads(client.get_object(Bucket=name, Key=key)["Body"].read())
            return found

        plan, manifest, latest = read("run/plan.json"), read("run/manifest.json"), read("latest.json")
        lost = [request.path.rpartition("/")[2] for request in state.requests if choose(request)]
    require({"plan.json", "manifest.json", "latest.json"} <= set(lost), f"lost were {lost}")
    require(manifest["lineage"]["plan_digest"] == plan["digest"], "the manifest is that of another plan")
    require(latest["run"] == plan["run"], "latest.json names another run")
    return f"{len(lost)} answers lost; exit 0, plan, manifest and latest.json agree"
