"""Kill runs at moments that a seed draws, and resume them."""

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
from tests.support.faults.runs import Ended, Happened, NotTried, Running, read_state
from tests.support.faults.world import Place, World

Phase = Literal["planning", "work", "finish"]
# Before: the request never reaches the server. After: it does, and the process dies before it knows. Later: between
# two requests, while the process computes.
When = Literal["before", "after", "later"]
_ROUND: tuple[Phase, ...] = ("planning", "work", "finish", "work", "planning", "finish", "work")
_TRIES = 5  # the delay may be longer than the rest of a run; each try waits a quarter of it
_LONGEST_DELAY = {"planning": 0.2, "work": 0.5, "finish": 1.0}  # seconds; most of `finish` passes without requests
# A run is killed in one phase several times. Each time at most this share of its requests passes, so that enough of
# them are left for the next kill.
_SHARE = {"planning": 1.0, "work": 1 / 3, "finish": 1.0}


@dataclass(frozen=True)
class Moment:
    """The `number`-th request of a phase, counted from 1 in each process."""

    phase: Phase
    number: int
    when: When
    delay: float

    def __str__(self) -> str:
        return f"{self.when} request {self.number} of {self.phase}"


def phase_of(output: Place) -> Phase:
    """Return how far a run has come, which its files show."""
    try:
        parts = len(json.loads((output.folder / "plan.json").read_bytes())["parts"])
    except (FileNotFoundError, json.JSONDecodeError):
        return "planning"
    made = len(list((output.folder / "boxes").glob("part-*.jsonl")))
    return "finish" if made == parts else "work"


def draw_moments(seed: int, count: int, requests: Counter[Phase]) -> list[Moment]:
    """Draw `count` moments, spread over the phases; those of one run come in the order of its phases."""
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
        """Kill the process where the request that was due has reached the server."""
        if request == self._due and self._moment.when == "after":
            self._kill()
            return False
        return True

    def watch(self, process: Running) -> None:
        """Take the process as soon as it is there, because its first request may be the one."""
        self._process = process
        self._started.set()

    def _kill(self) -> None:
        self._started.wait(10)
        assert self._process is not None
        self._process.send(self._signal)


def count_requests(world: World, output: Place) -> Counter[Phase]:
    """Count the requests that an undisturbed run makes in each phase."""
    counts: Counter[Phase] = Counter()
    lock = threading.Lock()

    def count(_request: Request) -> bool:
        with lock:
            counts[phase_of(output)] += 1
        return True

    with world.proxy() as state:
        state.before = count
        ended = world.run(output, world.environment(AWS_ENDPOINT_URL=state.endpoint))
    if ended.code:
        raise NotTried(f"the run whose requests are counted ends with exit {ended.code}: {ended.stderr[-2000:]}")
    return counts


def _interrupt(world: World, output: Place, moment: Moment, number: signal.Signals, state: Proxy) -> Ended:
    """Start the command and send it the signal at the moment, which it may end before."""
    killer = _Killer(moment, number, output)
    state.before, state.after = killer.before, killer.after
    process = world.start(world.planning("run", output), world.environment(AWS_ENDPOINT_URL=state.endpoint))
    killer.watch(process)
    return process.wait()


def killed_and_resumed(world: World, name: str, moments: list[Moment], number: signal.Signals) -> Happened:
    """Kill one run after another, each at some of the moments, and resume each until it is published.

    Commands and states are those of each moment, "escaped" where a run ended before it, and "resumed". facts["killed"]
    counts the kills by phase, facts["runs"] is the number of runs.
    """
    happened = Happened(facts={"killed": Counter(), "runs": 0})

    def fresh() -> Place:
        happened.facts["runs"] += 1
        return world.output(f"{name}-{happened.facts['runs']}")

    def note(what: str, ended: Ended) -> None:
        key = f"{len(happened.commands)}: {what}"
        happened.commands[key], happened.states[key] = ended, read_state(output.folder)

    output = fresh()
    with world.proxy() as state:
        for moment in moments:
            if moment.phase == "planning" and phase_of(output) != "planning":
                note("resumed", world.run(output))
                output = fresh()
            for _ in range(_TRIES):
                ended = _interrupt(world, output, moment, number, state)
                if ended.code != 0:
                    break
                note("escaped", ended)  # it was published before the moment came; a new run may reach it
                output, moment = fresh(), replace(moment, delay=moment.delay / 4)
            else:
                raise NotTried(f"{moment} was never reached")
            note(str(moment), ended)
            happened.facts["killed"][moment.phase] += 1
    note("resumed", world.run(output))
    return happened
