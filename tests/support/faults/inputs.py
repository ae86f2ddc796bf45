"""Change INPUT while a run is under way."""

from __future__ import annotations

import threading

from tests.support.faults.proxy import Request
from tests.support.faults.records import records
from tests.support.faults.runs import Happened
from tests.support.faults.world import Place, World


def _changing_input(world: World, name: str) -> tuple[Place, list[str]]:
    """Make an INPUT of the first dozen of the photographs, which nothing else uses."""
    source = Place(f"s3://fault-photos/{name}/", world.server.root / "fault-photos" / name)
    client = world.client()
    keys = [f"{index:02d}{path.suffix}" for index, path in enumerate(sorted(world.photos.folder.iterdir())[:12])]
    for key, path in zip(keys, sorted(world.photos.folder.iterdir()), strict=False):
        client.put_object(Bucket="fault-photos", Key=f"{name}/{key}", Body=path.read_bytes())
    return source, keys


def _change(world: World, name: str, keys: list[str]) -> dict[str, str]:
    """Delete, overwrite, empty and truncate one each of the last four, and add one.

    Returns what was done to each of `keys`: "nothing", "deleted" or "changed".
    """
    client = world.client()
    gone, other, empty, cut = keys[-4:]

    def put(key: str, data: bytes) -> None:
        client.put_object(Bucket="fault-photos", Key=f"{name}/{key}", Body=data)

    def data_of(key: str) -> bytes:
        data: bytes = client.get_object(Bucket="fault-photos", Key=f"{name}/{key}")["Body"].read()
        return data

    client.delete_object(Bucket="fault-photos", Key=f"{name}/{gone}")
    put(other, data_of(keys[0]))
    put(empty, b"")
    put(cut, data_of(cut)[:-50])
    put(f"new-{keys[0]}", data_of(keys[0]))
    return dict.fromkeys(keys, "nothing") | {gone: "deleted", other: "changed", empty: "changed", cut: "changed"}


def _statuses(output: Place) -> dict[str, str]:
    return {record["image"].rpartition("/")[2]: record["status"] for record in records(output.folder)}


def changed_between(world: World, name: str) -> Happened:
    """Change INPUT between `plan` and `work`; facts: what was "done" to each image, and the "statuses" of records."""
    source, keys = _changing_input(world, name)
    output, happened = world.output(name), Happened()
    happened.commands["plan"] = world.boxcar(world.planning("plan", output, source))
    happened.facts["done"] = _change(world, name, keys)
    happened.commands["work"] = world.boxcar(["work", str(output)])
    happened.facts["statuses"] = _statuses(output)
    return happened


def changed_during(world: World, name: str) -> Happened:
    """Change INPUT while `run` fetches the first image of the first part; facts as in `changed_between`."""
    source, keys = _changing_input(world, name)
    output, happened = world.output(name), Happened(facts={"done": {}})
    lock = threading.Lock()

    def before(request: Request) -> bool:
        with lock:
            first = request.method == "GET" and request.path.startswith(f"/fault-photos/{name}/{keys[0]}")
            if first and not happened.facts["done"]:
                happened.facts["done"] = _change(world, name, keys)
        return True

    with world.proxy() as state:
        state.before = before
        arguments = ["run", str(source), str(output), "--model", str(world.artifact), "--part-size", "4"]
        environment = world.environment(AWS_ENDPOINT_URL=state.endpoint)
        happened.commands["run"] = world.boxcar([*arguments, "--max-failed", "0.5"], environment)
    happened.facts["statuses"] = _statuses(output)
    return happened
