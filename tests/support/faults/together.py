"""Several processes at work on one OUTPUT, and one of them killed."""

from __future__ import annotations

import contextlib
import signal
import threading

from tests.support.faults.proxy import Request, Watch
from tests.support.faults.runs import Running, parts_named, require, require_same, require_whole_parts
from tests.support.faults.world import Place, World

# A process that comes to a meeting waits this long for the other, then goes on alone.
_WAIT_SECONDS = 5.0


def _meet(barrier: threading.Barrier, name: str) -> Watch:
    """Holds back one process's first writing of an object until the other comes to the same point."""
    first = threading.Lock()

    def before(request: Request) -> bool:
        if request.method == "PUT" and request.path.partition("?")[0].endswith(name) and first.acquire(blocking=False):
            with contextlib.suppress(threading.BrokenBarrierError):
                barrier.wait()
        return True

    return before


def two_runs(world: World, output: Place, meet: str = "") -> str:
    """Two `boxcar run` on one OUTPUT, started together; in a bucket they may meet at the writing of an object."""
    barrier = threading.Barrier(2, timeout=_WAIT_SECONDS)
    with world.proxy() as one, world.proxy() as two:
        running = []
        for state in (one, two):
            if meet:
                state.before = _meet(barrier, meet)
            environment = world.environment(AWS_ENDPOINT_URL=state.endpoint)
            running.append(world.start(world.planning("run", output), environment))
        for ended in [process.wait() for process in running]:
            ended.require(0)
    require_same(output.folder, world.undisturbed)
    world.boxcar(["finish", str(output)]).require(0)
    require_same(output.folder, world.undisturbed)
    return "both exit 0; bytes equal"


def two_workers(world: World, output: Place) -> str:
    """Two `boxcar work` on all parts."""
    world.boxcar(world.planning("plan", output)).require(0)
    for ended in [process.wait() for process in [world.start(["work", str(output)]) for _ in range(2)]]:
        ended.require(0)
    world.boxcar(["finish", str(output)]).require(0)
    require_same(output.folder, world.undisturbed)
    return "both exit 0; bytes equal"


class _KillAt:
    """Kills a process when its `number`-th part is written."""

    def __init__(self, number: int) -> None:
        self.process: Running | None = None
        self._left = number
        self._lock = threading.Lock()

    def after(self, request: Request) -> bool:
        """The records are there, what follows them is not."""
        if request.method != "PUT" or "/boxes/" not in request.path:
            return True
        with self._lock:
            self._left -= 1
            if self._left or self.process is None:
                return True
        self.process.send(signal.SIGKILL)
        return False


def one_shard_killed(world: World, name: str, shards: int = 3) -> str:
    """Of several shard workers one is killed; `finish` names what is missing; the shard runs again."""
    output = world.output(name)
    world.boxcar(world.planning("plan", output)).require(0)

    def shard(number: int) -> list[str]:
        return ["work", str(output), "--shard", str(number), "--shards", str(shards)]

    with world.proxy() as state:
        killer = _KillAt(1)
        state.after = killer.after
        killer.process = world.start(shard(1), world.environment(AWS_ENDPOINT_URL=state.endpoint))
        others = [world.start(shard(number)) for number in range(shards) if number != 1]
        for ended in [process.wait() for process in others]:
            ended.require(0)
        require(killer.process.wait().code == -signal.SIGKILL, "the worker was not killed")
    require_whole_parts(output.folder, world.undisturbed)
    missing = set(range(1, len(world.undisturbed.parts), shards))  # the first one's records are there, no more
    refused = world.boxcar(["finish", str(output)])
    refused.require(4)
    require(parts_named(refused.stderr) == missing, f"missing are {missing}, named: {refused.stderr}")
    require(not (output.folder / "manifest.json").exists(), "a manifest, though parts are missing")
    world.boxcar(shard(1)).require(0)
    world.boxcar(["finish", str(output)]).require(0)
    require_same(output.folder, world.undisturbed)
    return f"finish exit 4 names {len(missing)} parts; then bytes equal"
