"""Let several processes work on one OUTPUT, and kill one of them."""

from __future__ import annotations

import contextlib
import signal
import threading

from tests.support.faults.proxy import Request, Watch
from tests.support.faults.runs import Happened, Running, parts_named, read_state
from tests.support.faults.world import Place, World

# A process that comes to a meeting waits this long for the other, then goes on alone.
_WAIT_SECONDS = 5.0


def _meet(barrier: threading.Barrier, name: str) -> Watch:
    """Hold back one process's first writing of an object until the other comes to the same point."""
    first = threading.Lock()

    def before(request: Request) -> bool:
        if request.method == "PUT" and request.path.partition("?")[0].endswith(name) and first.acquire(blocking=False):
            with contextlib.suppress(threading.BrokenBarrierError):
                barrier.wait()
        return True

    return before


def two_runs(world: World, output: Place, meet: str = "") -> Happened:
    """Start `boxcar run` twice on one OUTPUT; in a bucket the two may meet at the writing of an object."""
    barrier = threading.Barrier(2, timeout=_WAIT_SECONDS)
    happened = Happened()
    with world.proxy() as one, world.proxy() as two:
        running = {}
        for name, state in (("one", one), ("two", two)):
            if meet:
                state.before = _meet(barrier, meet)
            environment = world.environment(AWS_ENDPOINT_URL=state.endpoint)
            running[name] = world.start(world.planning("run", output), environment)
        happened.commands |= {name: process.wait() for name, process in running.items()}
    happened.states["both"] = read_state(output.folder)
    happened.commands["finish"] = world.boxcar(["finish", str(output)])
    happened.states["end"] = read_state(output.folder)
    return happened


def two_workers(world: World, output: Place) -> Happened:
    """Start `boxcar work` twice on all parts."""
    happened = Happened({"plan": world.boxcar(world.planning("plan", output))})
    running = {name: world.start(["work", str(output)]) for name in ("one", "two")}
    happened.commands |= {name: process.wait() for name, process in running.items()}
    happened.commands["finish"] = world.boxcar(["finish", str(output)])
    happened.states["end"] = read_state(output.folder)
    return happened


class _KillAt:
    """Kills a process when its `number`-th part is written."""

    def __init__(self, number: int) -> None:
        self.process: Running | None = None
        self._left = number
        self._lock = threading.Lock()

    def after(self, request: Request) -> bool:
        """Kill the process when the records are there and what follows them is not."""
        if request.method != "PUT" or "/boxes/" not in request.path:
            return True
        with self._lock:
            self._left -= 1
            if self._left or self.process is None:
                return True
        self.process.send(signal.SIGKILL)
        return False


def one_shard_killed(world: World, name: str, shards: int = 3) -> Happened:
    """Kill one of several shard workers, then `finish`; let the shard run again, and `finish`.

    facts["missing"] has the numbers of the parts of the killed shard, facts["named"] those that `finish` named.
    """
    output = world.output(name)
    happened = Happened({"plan": world.boxcar(world.planning("plan", output))})

    def shard(number: int) -> list[str]:
        return ["work", str(output), "--shard", str(number), "--shards", str(shards)]

    with world.proxy() as state:
        killer = _KillAt(1)
        state.after = killer.after
        killer.process = world.start(shard(1), world.environment(AWS_ENDPOINT_URL=state.endpoint))
        others = {f"shard {number}": world.start(shard(number)) for number in range(shards) if number != 1}
        happened.commands |= {name: process.wait() for name, process in others.items()}
        happened.commands["killed"] = killer.process.wait()
    happened.states["killed"] = read_state(output.folder)
    happened.facts["missing"] = set(range(1, len(world.undisturbed.parts), shards))
    refused = happened.commands["finish too early"] = world.boxcar(["finish", str(output)])
    happened.facts["named"] = parts_named(refused.stderr)
    happened.states["refused"] = read_state(output.folder)
    happened.commands["shard 1 again"] = world.boxcar(shard(1))
    happened.commands["finish"] = world.boxcar(["finish", str(output)])
    happened.states["end"] = read_state(output.folder)
    return happened
