"""Runs that are killed at moments that a seed draws, and resumed."""

from __future__ import annotations

import itertools
import json
import random
import signal
import threading
from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal

from tests.support.faults.proxy import Proxy, Request
from tests.support.faults.runs import Running, require, require_same, require_whole_parts
from tests.support.faults.world import Place, World

Phase = Literal["planning", "work", "finish"]
# Before: the request never reaches the server. After: it does, and the process dies before it knows. Later: between
# two requests, while the process computes.
When = Literal["before", "after", "later"]
_ROUND: tuple[Phase, ...] = ("planning", "work", "finish", "work", "planning", "finish", "work")
_TRIES = 5  # a delay may be longer than the rest of a run
_LONGEST_DELAY = {"planning": 0.2, "work": 0.5, "finish": 1.0}  # seconds; most of `finish` passes without requests
# A run is killed in one phase several times: at so small a share of its requests each time that the next is reached.
_SHARE = {"planning": 1.0, "work": 1 / 3, "finish": 1.0}


@dataclass(frozen=True)
class Moment:
    """At the `number`-th request of a phase, counted from 1 in each process."""

    phase: Phase
    number: int
    when: When
    delay: float

    def __str__(self) -> str:
        return f"{self.when} request {self.number} of {self.phase}"


def phase_of(output: Place) -> Phase:
    """How far a run is, by its files."""
    try:
        parts = len(json.loads((output.folder / "plan.json").read_bytes())["parts"])
    except (FileNotFoundError, json.JSONDecodeError):
        return "planning"
    made = len(list((output.folder / "boxes").glob("part-*.jsonl")))
    return "finish" if made == parts else "work"


def draw_moments(seed: int, count: int, requests: Counter[Phase]) -> list[Moment]:
    """`count` moments, spread over the phases; of those that one run goes through, in the order of the phases."""
    lot = random.Random(seed)
    whens = itertools.cycle(lot.sample(["before", "after", "later"], 3))
    moments = []
    for start in range(0, count, len(_ROUND)):
        for phase in sorted(_ROUND[: count - start], key=list(_SHARE).index):
            number = lot.randint(1, max(1, int(requests[phase] * _SHARE[phase])))
            delay = lot.uniform(0, _LONGEST_DELAY[phase])
            moments.append(Moment(phase, number, next(whens), delay))  # type: ignore[arg-type]
    return moments


class _Killer:
    """Watches one process through its proxy, and ends it at a moment."""

    def __init__(self, moment: Moment, number: signal.Signals, output: Place) -> None:
        self._process: Running | None = None
        self._moment, self._signal, self._output = moment, number, output
        self._lock = threading.Lock()
        self._seen = 0
        self._due: Request | None = None
        self._started = threading.Event()

    def before(self, request: Request) -> bool:
        """Count the requests of the phase."""
        with self._lock:
            if self._due is not None or phase_of(self._output) != self._moment.phase:
                return True
            self._seen += 1
            if self._seen < self._moment.number:
                return True
            self._due = request
        if self._moment.when == "later":
            threading.Timer(self._moment.delay, self._kill).start()
            return True
        if self._moment.when == "before":
            self._kill()
            return False
        return True

    def after(self, request: Request) -> bool:
        """The request that was due has reached the server."""
        if request == self._due and self._moment.when == "after":
            self._kill()
            return False
        return True

    def watch(self, process: Running) -> None:
        """The process, as soon as it is there: its first request may be the one."""
        self._process = process
        self._started.set()

    def _kill(self) -> None:
        self._started.wait(10)
        assert self._process is not None
        self._process.send(self._signal)


def count_requests(world: World, output: Place) -> Counter[Phase]:
    """How many requests an undisturbed run makes in each phase."""
    counts: Counter[Phase] = Counter()
    lock = threading.Lock()

    def count(_request: Request) -> bool:
        with lock:
            counts[phase_of(output)] += 1
        return True

    with world.proxy() as state:
        state.before = count
        world.boxcar(world.planning("run", output), world.environment(AWS_ENDPOINT_URL=state.endpoint)).require(0)
    require_same(output.folder, world.undisturbed)
    return counts


def _interrupt(world: World, output: Place, moment: Moment, number: signal.Signals, state: Proxy) -> bool:
    """Start the command and end it at the moment; False when it ended well before that."""
    killer = _Killer(moment, number, output)
    state.before, state.after = killer.before, killer.after
    process = world.start(world.planning("run", output), world.environment(AWS_ENDPOINT_URL=state.endpoint))
    killer.watch(process)
    ended = process.wait()
    require_whole_parts(output.folder, world.undisturbed)
    if ended.code == 0:
        require_same(output.folder, world.undisturbed)
        return False
    if number == signal.SIGTERM:
        ended.require(143)
        require("run the same command again" in ended.stderr, f"no word of how to go on: {ended.stderr[-500:]}")
    else:
        require(ended.code == -number, f"{moment}: exit {ended.code}: {ended.stderr[-2000:]}")
    return True


def killed_and_resumed(world: World, name: str, moments: list[Moment], number: signal.Signals) -> str:
    """One run after another, each killed at some of the moments and resumed until it is published."""
    rounds = 0

    def fresh() -> Place:
        nonlocal rounds
        rounds += 1
        return world.output(f"{name}-{rounds}")

    output = fresh()
    at: Counter[str] = Counter()
    with world.proxy() as state:
        for moment in moments:
            if moment.phase == "planning" and phase_of(output) != "planning":
                world.require_resumed(output)
                output = fresh()
            tries = 0
            while not _interrupt(world, output, moment, number, state):  # published before; a new run may reach it
                tries += 1
                require(tries < _TRIES, f"{moment} was never reached")
                output, moment = fresh(), replace(moment, delay=moment.delay / 4)
            at[moment.phase] += 1
    world.require_resumed(output)
    spread = ", ".join(f"{count} in {phase}" for phase, count in at.items())
    return f"killed {spread}; {rounds} runs, all bytes equal"
