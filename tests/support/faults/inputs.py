"""INPUT that changes while a run is under way."""

from __future__ import annotations

import threading

from tests.support.faults.proxy import Request
from tests.support.faults.records import records
from tests.support.faults.runs import require
from tests.support.faults.world import Place, World


def _changing_input(world: World, name: str) -> tuple[Place, list[str]]:
    """An INPUT of its own: the first dozen of the photographs."""
    source = Place(f"s3://fault-photos/{name}/", world.server.root / "fault-photos" / name)
    client = world.client()
    keys = [f"{index:02d}{path.suffix}" for index, path in enumerate(sorted(world.photos.folder.iterdir())[:12])]
    for key, path in zip(keys, sorted(world.photos.folder.iterdir()), strict=False):
        client.put_object(Bucket="fault-photos", Key=f"{name}/{key}", Body=path.read_bytes())
    return source, keys


def _change(world: World, name: str, keys: list[str]) -> dict[str, str]:
    """Delete, overwrite, empty and truncate one each of the last four, and add one; what their records must say."""
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
    return dict.fromkeys(keys, "ok") | {gone: "missing", other: "changed", empty: "changed", cut: "changed"}


def _require_statuses(output: Place, expected: dict[str, str]) -> None:
    found = [(record["image"].rpartition("/")[2], record["status"]) for record in records(output.folder)]
    require(found == sorted(expected.items()), f"statuses {found}")


def changed_between(world: World, name: str) -> str:
    """Between `plan` and `work`."""
    source, keys = _changing_input(world, name)
    output = world.output(name)
    world.boxcar(world.planning("plan", output, source)).require(0)
    expected = _change(world, name, keys)
    world.boxcar(["work", str(output)]).require(0)
    _require_statuses(output, expected)
    return "deleted `missing`, others `changed`; the new one waits for the next run"


def changed_during(world: World, name: str) -> str:
    """While `run` fetches the first image of the first part."""
    source, keys = _changing_input(world, name)
    output = world.output(name)
    expected: dict[str, str] = {}
    lock = threading.Lock()

    def before(request: Request) -> bool:
        with lock:
            if request.method == "GET" and request.path.startswith(f"/fault-photos/{name}/{keys[0]}") and not expected:
                expected.update(_change(world, name, keys))
        return True

    with world.proxy() as state:
        state.before = before
        arguments = ["run", str(source), str(output), "--model", str(world.artifact), "--part-size", "4"]
        ended = world.boxcar([*arguments, "--max-failed", "0.5"], world.environment(AWS_ENDPOINT_URL=state.endpoint))
    ended.require(0)
    _require_statuses(output, expected)
    return "deleted `missing`, others `changed`; exit 0"
