"""Kill nodes of a Ray cluster at random, again and again, while a run is under way."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections.abc import Iterator
from typing import Any

from tests.support.faults.runs import HANGS_SECONDS, ROOT, Happened, NotTried, read_state
from tests.support.faults.world import Place, World

_STORE_BYTES = 80 * 2**20  # of a node's shared memory: the least that Ray takes
# Ray waits 30 seconds for a node, and on a busy machine one may take longer.
_STARTS = 5


class _Cluster:
    """A Ray cluster on this machine, whose nodes come and go."""

    def __init__(self, cluster: Any, environment: dict[str, str]) -> None:
        self.address: str = cluster.address
        self.nodes: list[Any] = []
        self._cluster, self._environment = cluster, environment

    def add(self, count: int) -> None:
        """Start nodes, and wait for them. Raises NotTried when none starts."""
        for _ in range(count):
            self.nodes.append(self._started())
        self._cluster.wait_for_nodes(timeout=300)

    def _started(self) -> Any:
        for _ in range(_STARTS):
            try:
                return self._cluster.add_node(
                    wait=False, num_cpus=1, object_store_memory=_STORE_BYTES, env_vars=self._environment
                )
            except Exception as error:  # noqa: BLE001 - Ray raises nothing more special
                said = str(error)
        raise NotTried(f"no node of the cluster starts: {said}")

    def kill(self, node: Any) -> None:
        """Kill every process of a node."""
        self.nodes.remove(node)
        self._cluster.remove_node(node, allow_graceful=False)


@contextlib.contextmanager
def _cluster(environment: dict[str, str]) -> Iterator[_Cluster]:
    from ray.cluster_utils import Cluster

    head = {"num_cpus": 0, "include_dashboard": False, "object_store_memory": _STORE_BYTES, "env_vars": environment}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield _Cluster(cluster, environment)
    finally:
        cluster.shutdown()


def _repeated(world: World, name: str, copies: int) -> Place:
    """An INPUT that holds the photographs several times."""
    source = Place(f"s3://fault-photos/{name}/", world.server.root / "fault-photos" / name)
    client = world.client()
    for path in sorted(world.photos.folder.iterdir()):
        for number in range(copies):
            client.put_object(Bucket="fault-photos", Key=f"{name}/{number}/{path.name}", Body=path.read_bytes())
    return source


def killed_nodes(
    world: World,
    name: str,
    seed: int,
    *,
    seconds: float,
    nodes: int = 3,
    copies: int = 1,
    most_rounds: int = -1,
    hangs_seconds: float = HANGS_SECONDS,
) -> Happened:
    """Kill one or two nodes of a cluster, start as many new ones, and do this again until the run ends.

    seconds: the least time between two kills. A kill also waits until the run has made another part, so that the run
    ends on a slow machine too. nodes: the number of nodes, each with one core; the head has no core and is not killed,
    because without it there is no cluster. copies: how often INPUT holds the photographs. most_rounds: the number of
    kills after which the nodes are left alone; -1 for no limit. hangs_seconds: a run that takes longer hangs. Commands
    and states: "local", an undisturbed run on this machine, and "end". facts: the number of "rounds", of the nodes that
    were "killed", and of the "minutes" that the command took.
    """
    try:
        import ray  # noqa: F401
    except ImportError as error:
        raise NotTried("Ray is not installed; install the extra `ray`") from error
    source, output = _repeated(world, name, copies), world.output(name)
    local = world.output(f"{name}-local")
    happened = Happened(facts={"rounds": 0, "killed": 0})
    happened.commands["local"] = world.boxcar(world.planning("run", local, source))
    happened.states["local"] = read_state(local.folder)
    # Ray's workers would give way to every other program (nice 15), and on a busy machine hardly work.
    environment = world.environment(PYTHONPATH=str(ROOT), RAY_worker_niceness="0")
    lot, ended = random.Random(seed), threading.Event()
    hanging: list[NotTried] = []

    def run(address: str) -> None:
        """The command, in a thread of its own: Ray starts nodes in the main thread only."""
        arguments = [*world.planning("run", output, source), "--engine", "ray", "--address", address]
        start = time.monotonic()
        try:
            happened.commands["end"] = world.start(arguments, environment).wait(hangs_seconds)
        except NotTried as error:  # raised again in the main thread, where it is seen
            hanging.append(error)
        finally:
            happened.facts["minutes"] = (time.monotonic() - start) / 60
            ended.set()

    with _cluster(environment) as cluster:
        cluster.add(nodes)
        command = threading.Thread(target=run, args=[cluster.address])
        command.start()
        while happened.facts["rounds"] != most_rounds and _wait(ended, seconds, output):
            chosen = lot.sample(cluster.nodes, lot.randint(1, 2))
            for node in chosen:
                cluster.kill(node)
            happened.facts["rounds"] += 1
            happened.facts["killed"] += len(chosen)
            cluster.add(len(chosen))
        command.join()
    if hanging:
        raise hanging[0]
    happened.states["end"] = read_state(output.folder)
    return happened


def _wait(ended: threading.Event, seconds: float, output: Place) -> bool:
    """Wait until the seconds have passed and another part is made. Returns False when the run ends first."""

    def made() -> int:
        return len(list((output.folder / "stats").glob("*.json")))

    before, until = made(), time.monotonic() + seconds
    while not ended.wait(0.1):
        if time.monotonic() >= until and made() > before:
            return True
    return False
