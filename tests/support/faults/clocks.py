"""Let the clock of a command jump while it runs, as when somebody or NTP sets it.

Only what Python reads as the time of day is changed, by a `sitecustomize` module (see planted.py): the time since the
start of the machine, which timeouts use, cannot be set on a real machine either. libfaketime makes `time.sleep` fail
when it leaves that one as it is.
"""

from __future__ import annotations

import json
import os
import threading
import time
from calendar import timegm
from collections.abc import Mapping
from datetime import datetime

from tests.support.faults.planted import plant
from tests.support.faults.proxy import Request
from tests.support.faults.refusals import moto_server
from tests.support.faults.runs import Happened, read_state
from tests.support.faults.world import World

HOUR = 3600.0
# Modules written in C would crash with another datetime, so that only the job and botocore, which signs, get it.
_HOOK = """
import builtins, datetime, sys, time, types

def offset():
    with open({path!r}) as file:
        return float(file.read())

class Jumping(datetime.datetime):
    @classmethod
    def now(cls, tz=None):
        return datetime.datetime.now(tz) + datetime.timedelta(seconds=offset())

jumping = types.ModuleType("datetime")
jumping.__dict__.update(datetime.__dict__, datetime=Jumping)
true_time, true_import = time.time, builtins.__import__

def deceived(name):
    return name.partition(".")[0] in ("jobs", "botocore")

def importing(name, globals=None, *rest, **named):
    found = true_import(name, globals, *rest, **named)
    return jumping if found is datetime and deceived((globals or {{}}).get("__name__") or "") else found

time.time, builtins.__import__ = lambda: true_time() + offset(), importing
for name, module in list(sys.modules.items()):  # those that were imported before
    if deceived(name) and (found := vars(module).get("datetime")):
        module.datetime = jumping if found is datetime else Jumping
"""


class _Clock:
    """The clock of the commands that are started in its environment."""

    def __init__(self, world: World, name: str) -> None:
        self._path = world.scratch / f"{name}.offset"
        self.set(0.0)
        self._hook = plant(world.scratch / f"{name}-hook", _HOOK.format(path=str(self._path)))

    def set(self, offset: float) -> None:
        """Let the clock be `offset` seconds ahead of the true time from now on."""
        temporary = self._path.with_suffix(".tmp")
        temporary.write_text(str(offset))
        os.replace(temporary, self._path)

    def environment(self, world: World, endpoint: str) -> Mapping[str, str]:
        """The variables of a command that has this clock."""
        return world.environment(AWS_ENDPOINT_URL=endpoint, PYTHONPATH=str(self._hook))


def _skew(request: Request) -> float:
    """How far the clock of a request is ahead, in seconds."""
    return timegm(time.strptime(request.headers["x-amz-date"], "%Y%m%dT%H%M%SZ")) - time.time()


def jumping(world: World, name: str) -> Happened:
    """Let the clock jump an hour ahead, and two hours back, while images are read.

    Each time is that of a third of the images. A request for an image that was signed before the last jump is reset,
    so that it comes again with the new time: on a slow machine all may be on their way before the first jump. The
    server is moto's, which does not compare clocks. facts["skews"] has the hours by which requests were ahead, and
    facts["ends"] those by which the ends of parts were; facts["times"] the first and the last moment of every part.
    """
    output, clock = world.output(name, s3=False), _Clock(world, name)
    photos = sorted(world.photos.folder.iterdir())
    offsets = [0.0, HOUR, -HOUR]  # now, and after each jump that is left
    third = len(photos) // len(offsets)
    skews: set[int] = set()
    lock, read = threading.Lock(), 0

    def before(request: Request) -> bool:
        nonlocal read
        with lock:
            skew = round(_skew(request) / HOUR)
            skews.add(skew)
            if request.method != "GET" or not request.path.startswith("/fault-photos/in/"):
                return True
            if skew != round(offsets[0] / HOUR):
                return False
            read += 1
            if read % third == 0 and len(offsets) > 1:
                del offsets[0]
                clock.set(offsets[0])
            return True

    with moto_server() as endpoint, world.proxy(endpoint) as state:
        client = world.client(endpoint)
        client.create_bucket(Bucket="fault-photos")
        for path in photos:
            client.put_object(Bucket="fault-photos", Key=f"in/{path.name}", Body=path.read_bytes())
        state.before = before
        ended = world.run(output, clock.environment(world, state.endpoint))
    stats = [json.loads(path.read_bytes()) for path in sorted((output.folder / "stats").iterdir())]
    times = [(datetime.fromisoformat(one["started_at"]), datetime.fromisoformat(one["finished_at"])) for one in stats]
    ends = {round((end.timestamp() - time.time()) / HOUR) for _, end in times}
    facts = {"skews": skews, "ends": ends, "times": times}
    return Happened({"run": ended}, {"end": read_state(output.folder)}, facts)


def lengths_are_true(happened: Happened) -> bool:
    """Whether no part ended before it began, or took an hour."""
    return all(0 <= (end - start).total_seconds() < HOUR / 2 for start, end in happened.facts["times"])


def refused(world: World, name: str) -> Happened:
    """Let the clock jump an hour ahead before a server that compares it with its own, as S3 does; then set it right."""
    output, clock = world.output(name), _Clock(world, name)

    def before(request: Request) -> bool:
        if request.method == "PUT" and "/stats/" in request.path:
            clock.set(HOUR)
        return True

    happened = Happened()
    with world.proxy() as state:
        state.before = before
        happened.commands["stopped"] = world.run(output, clock.environment(world, state.endpoint))
        happened.states["stopped"] = read_state(output.folder)
    happened.commands["resumed"] = world.run(output)
    happened.states["end"] = read_state(output.folder)
    return happened
