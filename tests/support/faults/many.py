"""Kill one long run at many moments, in every phase, and resume it each time."""

from __future__ import annotations

import contextlib
import io
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

from tests.support.faults.runs import Ended, Happened, NotTried, Running, read_state
from tests.support.faults.world import Place, World

# Publishing is the end of `finish`: the verdict's file is written, and the manifest is not.
Phase = Literal["planning", "work", "finish", "publishing", "published"]
# Which share of the kills each phase gets.
SHARES: dict[Phase, float] = {"planning": 0.1, "work": 0.75, "finish": 0.1, "publishing": 0.05, "published": 0.0}
# Looking takes less than a hundredth of this pause, and no phase is shorter.
_LOOK_SECONDS = 0.02
# One image in 50 has the same bytes as the others of this kind, as placeholders have.
_EQUAL = 50
_A_FOLDER = 1000


@dataclass(frozen=True)
class Moment:
    """A kill: `delay` seconds after the phase has begun; in work, after `parts` parts have been made."""

    phase: Phase
    delay: float
    parts: int = 0

    def is_due(self, phase: Phase, made: int) -> bool:
        """Whether its delay begins, in this phase with this number of parts. What it waits for may lie behind: a moment
        that was missed comes as soon as the next command has started."""
        order = [*SHARES]
        return order.index(phase) > order.index(self.phase) or (phase == self.phase and made >= self.parts)

    def __str__(self) -> str:
        where = f" with {self.parts} parts" if self.phase == "work" else ""
        return f"{self.delay:.2f} s into {self.phase}{where}"


@dataclass(frozen=True)
class Times:
    """Seconds that one command spent in each phase that it reached, the start of its process included in the first."""

    seconds: dict[Phase, float]
    first_part: float | None  # from the start of the command to the first part that it made; None when it made none


def write_small_images(folder: Path, count: int, seed: int) -> None:
    """Write `count` JPEGs of 48 x 40 pixels below `folder`, a thousand in a folder; they depend on the seed only."""
    for index in range(count):
        lot = np.random.default_rng((seed, 0 if index % _EQUAL == 0 else index))
        colours = np.clip(lot.integers(0, 200, 3) + lot.integers(0, 56, (5, 6, 3)), 0, 255).astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(colours).resize((48, 40), Image.Resampling.BILINEAR).save(buffer, "JPEG")
        path = folder / f"{index // _A_FOLDER:03d}" / f"{index:06d}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(buffer.getvalue())


def draw_moments(seed: int, count: int, parts: int, whole: Times) -> list[Moment]:
    """Draw `count` moments in the order of a run; `whole` has the times of the run that was left alone.

    Each phase has at least one. A delay is at most half as long as its phase lasts, because the next command may be
    faster, or in work as long as one part takes.
    """
    lot = random.Random(seed)
    counts = {phase: max(1, round(count * share)) for phase, share in SHARES.items() if share}
    counts["work"] = count - sum(number for phase, number in counts.items() if phase != "work")
    longest = {phase: seconds / 2 for phase, seconds in whole.seconds.items()} | {"work": whole.seconds["work"] / parts}
    made = sorted(lot.randrange(parts) for _ in range(counts["work"]))
    return [
        Moment(phase, lot.uniform(0, longest[phase]), made[number] if phase == "work" else 0)
        for phase, number in ((phase, number) for phase in counts for number in range(counts[phase]))
    ]


class _Watch:
    """Follows one command by the files of its OUTPUT, and kills it at a moment, if it is given one."""

    def __init__(self, output: Place, moment: Moment | None) -> None:
        self._folder, self._moment = output.folder, moment
        self._started = time.monotonic()
        self._began: dict[Phase, float] = {}
        self._planned = 0  # parts
        self._verdict, self._made = self._written(), self._parts()
        self._first_part: float | None = None
        self._due: float | None = None
        self._ended = threading.Event()

    @contextlib.contextmanager
    def following(self, process: Running) -> Iterator[None]:
        """Look until the end of the block."""
        thread = threading.Thread(target=self._follow, args=[process])
        thread.start()
        try:
            yield
        finally:
            self._ended.set()
            thread.join()

    def times(self) -> Times:
        """The seconds in each phase that was reached; to be called at the end of the command."""
        ends = [*list(self._began.values())[1:], time.monotonic()]
        starts = [self._started, *list(self._began.values())[1:]]
        seconds = {phase: end - start for phase, start, end in zip(self._began, starts, ends, strict=True)}
        return Times(seconds, self._first_part)

    def _follow(self, process: Running) -> None:
        while not self._ended.wait(_LOOK_SECONDS):
            made, now = self._parts(), time.monotonic()
            phase = self._phase(made)
            self._began.setdefault(phase, now)
            if self._first_part is None and made > self._made:
                self._first_part = now - self._started
            if self._moment is None:
                continue
            if self._due is None and self._moment.is_due(phase, made):
                self._due = now + self._moment.delay
            if self._due is not None and now >= self._due:
                process.send(signal.SIGKILL)

    def _phase(self, made: int) -> Phase:
        if not self._planned:
            with contextlib.suppress(FileNotFoundError, json.JSONDecodeError):
                self._planned = len(json.loads((self._folder / "plan.json").read_bytes())["parts"])
        if not self._planned:
            return "planning"
        if made < self._planned:
            return "work"
        if (self._folder / "manifest.json").exists():
            return "published"
        return "finish" if self._written() == self._verdict else "publishing"

    def _parts(self) -> int:
        """How many parts are made; their statistics are written last."""
        with contextlib.suppress(FileNotFoundError):
            return len(os.listdir(self._folder / "stats"))
        return 0

    def _written(self) -> int:
        """When the verdict was written; 0 where there is none."""
        with contextlib.suppress(FileNotFoundError):
            return (self._folder / "quality/validation.json").stat().st_mtime_ns
        return 0


def _run(world: World, output: Place, moment: Moment | None, hangs_seconds: float) -> tuple[Ended, Times]:
    watch = _Watch(output, moment)
    process = world.start(world.planning("run", output))
    with watch.following(process):
        ended = process.wait(hangs_seconds)
    return ended, watch.times()


def left_alone(world: World, output: Place, hangs_seconds: float) -> Times:
    """Run over everything once, and measure the phases."""
    ended, times = _run(world, output, None, hangs_seconds)
    if ended.code or len(times.seconds) < len(SHARES):
        raise NotTried(
            f"left alone, the run ends with exit {ended.code} after {[*times.seconds]}: {ended.stderr[-2000:]}"
        )
    return times


def killed_many_times(
    world: World, output: Place, moments: list[Moment], hangs_seconds: float, say: Callable[[str], object]
) -> Happened:
    """Kill one run at all the moments, and let it end.

    Commands and states: "resumed", and "again", the same command on the published run; besides them the commands that
    ended with an error of their own. facts["killed"] counts the kills by the phase that the run had reached,
    facts["escaped"] the commands that had ended before; facts["first part"] has the seconds from the start of a command
    to the first part that it made, of the commands that made one.
    """
    happened = Happened(facts={"killed": Counter(), "escaped": 0, "first part": []})
    started = time.monotonic()
    for number, moment in enumerate(moments, 1):
        ended, times = _run(world, output, moment, hangs_seconds)
        reached = [*times.seconds][-1]
        if ended.code == -signal.SIGKILL:
            happened.facts["killed"][reached] += 1
        elif ended.code == 0:
            happened.facts["escaped"] += 1
        else:
            happened.commands[f"{number}: {moment}"] = ended
        if times.first_part is not None:
            happened.facts["first part"].append(times.first_part)
        say(
            f"{time.monotonic() - started:6.0f} s  {number} of {len(moments)}: {moment}; exit {ended.code} in {reached}"
        )
    for what in ("resumed", "again"):
        happened.commands[what], _ = _run(world, output, None, hangs_seconds)
        happened.states[what] = read_state(output.folder)
    return happened
