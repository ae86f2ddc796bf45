"""Two workers make one part, and their bytes differ: what may have been published never changes."""

from __future__ import annotations

import hashlib
import itertools
import random
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from jobs.errors import StorageError
from jobs.formats import Plan, PlannedImage, PlanPart, Record, encode_lines, sha256
from jobs.parts import WholePart, find_part, records_key, stats_key, write_records
from jobs.plan import decode_planned, planned_key, require_plan
from jobs.storage import open_store
from jobs.storage.store import Content
from jobs.worker import PartDraft, Worker
from tests.jobs.helpers import write_photos

Boxcar = Callable[..., Any]


@dataclass
class Memory:
    """A store in memory. `pause` is called before each step; `history` has its objects after each step."""

    objects: dict[str, bytes]
    knows_conditions: bool = True
    pause: Callable[[], None] = lambda: None
    history: list[dict[str, bytes]] = field(default_factory=list)
    uri: str = "memory/"

    def read(self, key: str) -> bytes | None:
        self.pause()
        return self.objects.get(key)

    def read_version(self, key: str) -> Content | None:
        data = self.read(key)
        return None if data is None else Content(data, hashlib.md5(data).hexdigest())

    def write(self, key: str, data: bytes) -> None:
        self.pause()
        self._set(key, data)

    def swap(self, key: str, data: bytes, etag: str | None) -> bool:
        self.pause()
        there = self.objects.get(key)
        if self.knows_conditions and (None if there is None else hashlib.md5(there).hexdigest()) != etag:
            return False
        self._set(key, data)
        return True

    def _set(self, key: str, data: bytes) -> None:
        self.objects[key] = data
        self.history.append(dict(self.objects))


@dataclass
class Turns:
    """Lets threads take one step at a time, in a given order; after the order's end, each goes on as it likes."""

    order: list[int]
    own: threading.local = field(default_factory=threading.local)
    changed: threading.Condition = field(default_factory=threading.Condition)
    ended: set[int] = field(default_factory=set)

    def wait(self) -> None:
        with self.changed:
            assert self.changed.wait_for(self._is_mine, timeout=60)
            if self.order:
                self.order.pop(0)
            self.changed.notify_all()

    def end(self) -> None:
        with self.changed:
            self.ended.add(self.own.number)
            self.changed.notify_all()

    def _is_mine(self) -> bool:
        while self.order and self.order[0] in self.ended:
            self.order.pop(0)
        return not self.order or self.order[0] == self.own.number


@dataclass(frozen=True)
class Task:
    plan: Plan
    part: PlanPart
    images: list[PlannedImage]
    records: list[Record]

    def others(self, score: float) -> list[Record]:
        """The records as another processor computes them."""
        return [
            record.model_copy(update={"boxes": [box.model_copy(update={"score": score}) for box in record.boxes]})
            for record in self.records
        ]


@pytest.fixture
def task(tmp_path: Path, boxcar: Boxcar, artifact: Path) -> Task:
    boxcar("run", write_photos(tmp_path / "photos", 2), tmp_path / "run", "--model", artifact)
    output = open_store(str(tmp_path / "run"))
    plan = require_plan(output)
    (part,) = plan.parts
    images = decode_planned(output, part, output.read(planned_key(part)))
    found = find_part(output, plan, part, images)
    assert isinstance(found, WholePart) and found.stats.boxes > 0
    return Task(plan, part, images, found.records)


def put(store: Memory, task: Task, records: list[Record]) -> None:
    """What a worker does with a part whose records are made."""
    worker: Any = SimpleNamespace(
        _output=store, _plan=task.plan, _presence=SimpleNamespace(require=lambda *_: None), _device="cpu"
    )
    Worker._put(worker, PartDraft(task.part, task.images, 0.0, records), 0.0, 0.0)


def together(store: Memory, task: Task, order: list[int]) -> None:
    """Let two workers write the part, one step after the other in this order."""
    turns = Turns(order)
    store.pause = turns.wait
    failed: list[Exception] = []

    def work(number: int) -> None:
        turns.own.number = number
        try:
            put(store, task, task.others(0.5 + number / 10))
        except Exception as error:  # noqa: BLE001 - the test fails by it below
            failed.append(error)
        finally:
            turns.end()

    threads = [threading.Thread(target=work, args=(number,)) for number in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failed
    store.pause = lambda: None


def published(store: Memory, task: Task) -> set[str]:
    """Every digest that a `finish` could have published: it reads statistics at one moment, and records at the same or
    a later one."""
    records, stats = records_key(task.part), stats_key(task.part)
    found: set[str] = set()
    for early, late in itertools.combinations_with_replacement(store.history, 2):
        if stats in early and records in late:
            digest = sha256(late[records])
            found |= {digest} if f'"sha256":"{digest}"' in early[stats].decode().replace(" ", "") else set()
    return found


def starts(task: Task) -> Iterator[tuple[str, dict[str, bytes]]]:
    records, stats = records_key(task.part), stats_key(task.part)
    third = encode_lines(task.others(0.9))
    yield "nothing", {}
    yield "records of a worker that was stopped", {records: third}
    yield "damaged records of a worker that was stopped", {records: third[:-40]}
    yield "damaged statistics", {records: third, stats: b"{"}
    old = Memory({})
    put(old, task, task.others(0.95))
    yield "old statistics, no records", {stats: old.objects[stats]}
    yield "old statistics, damaged records", {records: third[:-40], stats: old.objects[stats]}
    yield "old statistics, other records", {records: third, stats: old.objects[stats]}


# A worker takes six steps at most where no statistics are there: these are all orders of two workers' steps.
ORDERS = [[int(place in own) for place in range(12)] for own in itertools.combinations(range(12), 6)]
# With old statistics it takes nine, and there are 48,620 orders: some of them.
_random = random.Random(0)
LONG_ORDERS = [[int(place in own) for place in range(18)] for own in (_random.sample(range(18), 9) for _ in range(900))]


def test_no_order_of_two_workers_changes_what_may_be_published(task: Task) -> None:
    for name, objects in starts(task):
        finals = set()
        for order in LONG_ORDERS if name.startswith("old") else ORDERS:
            store = Memory(dict(objects), history=[dict(objects)])
            together(store, task, list(order))
            final = sha256(store.objects[records_key(task.part)])
            assert isinstance(find_part(store, task.plan, task.part, task.images), WholePart), (name, order)
            assert published(store, task) == {final}, (name, order)
            finals.add(final)
        keeps = name in ("records of a worker that was stopped", "damaged statistics")
        assert len(finals) == (1 if keeps else 2), name  # either worker may be first; what is whole stays


def test_records_that_were_changed_are_made_again(task: Task) -> None:
    """Statistics of this run say that the records were others."""
    store = Memory({})
    put(store, task, task.records)
    store.objects[records_key(task.part)] = encode_lines(task.others(0.9))
    put(store, task, task.records)
    assert store.objects[records_key(task.part)] == encode_lines(task.records)


def test_a_store_that_ignores_conditions_ends_with_a_whole_part(task: Task) -> None:
    """Of two workers that write at the same moment the last one stays, and the next run finds the part whole."""
    for order in ORDERS[::7]:
        store = Memory({}, knows_conditions=False, history=[{}])
        together(store, task, list(order))
        if not isinstance(find_part(store, task.plan, task.part, task.images), WholePart):
            put(store, task, task.records)
        assert isinstance(find_part(store, task.plan, task.part, task.images), WholePart)


def test_a_store_that_changes_what_is_written_is_an_error(task: Task) -> None:
    class Changing(Memory):
        def _set(self, key: str, data: bytes) -> None:
            super()._set(key, data[:-40])

    with pytest.raises(StorageError, match="does not hold what was written"):
        write_records(Changing({}), task.plan, task.part, task.images, task.records)
