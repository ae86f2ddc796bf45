"""Let requests fail on their way, and answer with what belongs to something else."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

from tests.support.faults.proxy import FAULTS, Answer, Request, proxy, seeded
from tests.support.faults.records import records
from tests.support.faults.refusals import moto_server
from tests.support.faults.runs import Happened, read_state
from tests.support.faults.world import Place, World

# A run that gives up is started again this often; it keeps its finished parts.
_TRIES = 15


def disturbed(world: World, name: str, seed: int, share: float = 0.2, faults: tuple[str, ...] = FAULTS) -> Happened:
    """Disturb a share of the requests of a run, and run the same command again until it ends well.

    facts: how many requests were "disturbed", of how many "requests".
    """
    output, happened = world.output(name), Happened()
    with world.proxy() as state:
        state.choose = seeded(seed, share, faults)
        environment = world.environment(AWS_ENDPOINT_URL=state.endpoint)
        for number in range(_TRIES):
            ended = happened.commands[f"run {number + 1}"] = world.run(output, environment)
            happened.states[f"run {number + 1}"] = read_state(output.folder)
            if ended.code == 0:
                break
    happened.states["end"] = read_state(output.folder)
    happened.facts |= {"disturbed": state.faults.total(), "requests": len(state.requests)}
    return happened


def lengths_lost(world: World, name: str) -> Happened:
    """End connections after the ETag and before the length of an image: HTTP then takes the body for empty.

    The images are stored without a checksum, as most of S3's are; a checksum would show the loss. facts["cut"] counts
    the answers.
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
        ended = world.run(output, world.environment(AWS_ENDPOINT_URL=state.endpoint))
    return Happened({"run": ended}, {"end": read_state(output.folder)}, {"cut": state.faults.total()})


def unreachable(world: World, name: str) -> Happened:
    """Let nothing answer from some request on; then run the same command with a server that answers."""
    output, happened = world.output(name), Happened()
    with world.proxy() as state:
        # After the first part's records were written.
        def choose(_request: Request) -> str | None:
            return "reset" if any((output.folder / "boxes").glob("*.jsonl")) else None

        state.choose = choose
        environment = world.environment(AWS_ENDPOINT_URL=state.endpoint, AWS_MAX_ATTEMPTS="2")
        happened.commands["stopped"] = world.run(output, environment)
    happened.states["stopped"] = read_state(output.folder)
    happened.commands["resumed"] = world.run(output)
    happened.states["end"] = read_state(output.folder)
    return happened


def other_version(world: World, name: str) -> Happened:
    """Answer whole images with another version's ETag.

    facts["altered"] has the names of these images, facts["statuses"] the status of every record by name.
    """
    output = world.output(name)
    happened = Happened({"plan": world.boxcar(world.planning("plan", output))})
    chosen = set(sorted(path.name for path in world.photos.folder.iterdir())[::4])

    def alter(request: Request, answer: Answer) -> Answer:
        if request.method != "GET" or request.path.partition("?")[0].rpartition("/")[2] not in chosen:
            return answer
        headers = tuple(
            (n, '"0123456789abcdef0123456789abcdef"' if n.lower() == "etag" else v) for n, v in answer.headers
        )
        return replace(answer, headers=headers)

    with world.proxy() as state:
        state.alter = alter
        environment = world.environment(AWS_ENDPOINT_URL=state.endpoint)
        happened.commands["work"] = world.boxcar(["work", str(output)], environment)
    found = {record["image"].rpartition("/")[2]: record["status"] for record in records(output.folder)}
    happened.facts |= {"altered": chosen, "statuses": found}
    return happened


def first_answers_lost(world: World, name: str) -> Happened:
    """Lose the first answer to every write, on a server that knows conditional writes.

    The second try of the plan and of latest.json is refused, because the object is there: its own. facts: the names of
    what was "lost", and the "plan", "manifest" and "latest" that the bucket holds in the end.
    """
    source = Place(str(world.photos.folder), world.photos.folder)
    output = Place(f"s3://{name}/run/", Path())

    def choose(request: Request) -> str | None:
        stored = request.method == "PUT" and request.path.endswith((".json", ".jsonl")) and request.attempt == 1
        return "lost answer" if stored else None

    happened = Happened()
    with moto_server() as endpoint, proxy(endpoint) as state:
        client = world.client(endpoint)
        client.create_bucket(Bucket=name)
        state.choose = choose
        environment = world.environment(AWS_ENDPOINT_URL=state.endpoint)
        arguments = [*world.planning("run", output, source), "--latest", f"s3://{name}/latest.json"]
        happened.commands["run"] = world.boxcar(arguments, environment)
        for what, key in (("plan", "run/plan.json"), ("manifest", "run/manifest.json"), ("latest", "latest.json")):
            happened.facts[what] = json.loads(client.get_object(Bucket=name, Key=key)["Body"].read())
        happened.facts["lost"] = [request.path.rpartition("/")[2] for request in state.requests if choose(request)]
    return happened
