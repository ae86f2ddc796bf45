"""Lists a long S3 prefix in parallel.

One listing is a chain of requests: each names the key after which the next one begins, and brings 1,000 keys in some
100 ms. S3 lists keys in the order of their UTF-8 bytes and begins wherever it is asked to, so that the key space can be
cut into ranges, which are listed side by side. Any strings will do as borders: a bad choice costs requests, not keys.
First borders are the folders of the uppermost levels; later a thread that has nothing to do takes half of what another
has left.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Generator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from queue import SimpleQueue
from typing import Any
from xml.etree import ElementTree

from jobs.errors import StorageError

# ListObjectsV2 of one bucket, with these parameters. Raises StorageError; what it returns has IsTruncated.
Ask = Callable[..., dict[str, Any]]
# A line of a listing: Key, Size, ETag.
ListedObject = dict[str, Any]

# Pages that are listed in sequence first, so that a small listing takes no more requests than it has pages.
HEAD_PAGES = 8
# With more threads, reading the answers would need more than one core.
THREADS = 16
# Pages of 1,000 keys that wait for the consumer, besides one for each thread: about 20 MB.
PAGES_AHEAD = 32
# Folders are looked for down to LEVELS, with one request for each of PARENTS folders of a level, until there are
# ENOUGH.
LEVELS = 8
PARENTS = 16
ENOUGH = 64
# Pages after which a range is cut for an idle thread. A shorter range is soon done, and cutting takes a request.
LONG = 4


def list_keys(ask: Ask, prefix: str, uri: str) -> Generator[ListedObject]:
    """Every key that begins with `prefix`, in no particular order; a bounded number of them is held.

    Raises StorageError, which names `uri`, when the server does not list in the order of UTF-8 bytes, because keys
    would be lost at the borders of ranges.
    """
    last = ""
    options: dict[str, str] = {}
    for _ in range(HEAD_PAGES):
        page = ask(Prefix=prefix, **options)
        last = _check_order(page, last, uri)
        yield from page.get("Contents", [])
        if not page["IsTruncated"]:
            return
        options = _next(page, uri)
    borders = [border for border in _borders(ask, prefix) if border > last]
    # A text that sorts after every key with the prefix, for `between`.
    end = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else None
    ranges = list(zip([last, *borders], [*borders, end], strict=True))
    yield from _Ranges(ask, prefix, uri, ranges).pages()


def list_in_sequence(ask: Ask, prefix: str, uri: str) -> Generator[ListedObject]:
    """Every key that begins with `prefix`, one page after the other, in the server's own order."""
    page = ask(Prefix=prefix)
    yield from page.get("Contents", [])
    while page["IsTruncated"]:
        page = ask(Prefix=prefix, **_next(page, uri))
        yield from page.get("Contents", [])


def _next(page: dict[str, Any], uri: str) -> dict[str, str]:
    if "NextContinuationToken" not in page:
        raise StorageError(f"{uri}: a page of the listing does not say where the next one begins; check the server")
    return {"ContinuationToken": page["NextContinuationToken"]}


def _check_order(page: dict[str, Any], last: str, uri: str) -> str:
    """The page's last key, or `last` if the page is empty. Text compares by code points, which is the order of
    UTF-8."""
    for found in page.get("Contents", []):
        key: str = found["Key"]
        if key <= last:
            raise StorageError(
                f"{uri}: the server lists {key!r} after {last!r}, not in the order of UTF-8 bytes as S3 does, so that "
                "keys could be lost; plan from a copy on another server, or from a folder"
            )
        last = key
    return last


def _borders(ask: Ask, prefix: str) -> list[str]:
    """Texts that cut the keys into ranges, sorted: the folders of the uppermost levels, and the ends of these
    levels."""
    found: set[str] = set()
    level = [prefix]
    with ThreadPoolExecutor(THREADS, "list") as pool:
        for _ in range(LEVELS):
            pages = pool.map(lambda parent: ask(Prefix=parent, Delimiter="/"), _thinned(level, PARENTS))
            children = [[folder["Prefix"] for folder in page.get("CommonPrefixes", [])] for page in pages]
            level = [child for siblings in children for child in siblings]
            found.update(level)
            found.update(siblings[-1][:-1] + chr(ord("/") + 1) for siblings in children if siblings)
            if not level or len(found) >= ENOUGH:
                break
    return _thinned(sorted(found), 2 * ENOUGH)


def _thinned(items: list[str], most: int) -> list[str]:
    """At most `most` of the items, evenly spaced."""
    return items if len(items) <= most else [items[index * len(items) // most] for index in range(most)]


@dataclass(eq=False)
class _Range:
    """The keys after `last` up to and including `high`, or without end. Listing moves `last` up, cutting moves `high`
    down."""

    last: str
    high: str | None
    pages: int = 0  # listed since somebody last tried to cut it


class _Ranges:
    """Lists ranges of keys with threads. A thread without a range cuts the range of another thread and takes its upper
    half."""

    def __init__(self, ask: Ask, prefix: str, uri: str, ranges: list[tuple[str, str | None]]) -> None:
        self._ask = ask
        self._prefix = prefix
        self._uri = uri
        self._waiting = deque(_Range(last, high) for last, high in ranges)
        self._listed: list[_Range] = []
        self._busy = 0  # threads that list or cut
        self._stopped = False
        self._changed = threading.Condition()
        self._room = threading.Semaphore(PAGES_AHEAD)
        self._handed: SimpleQueue[list[ListedObject] | Future[None]] = SimpleQueue()

    def pages(self) -> Generator[ListedObject]:
        """Every key of the ranges. A caller that stops early waits only for requests that have begun."""
        with ThreadPoolExecutor(THREADS, "list") as pool:
            try:
                for _ in range(THREADS):
                    pool.submit(self._work).add_done_callback(self._handed.put)
                working = THREADS
                while working:
                    handed = self._handed.get()
                    if isinstance(handed, Future):
                        handed.result()  # this raises the error that ended the thread
                        working -= 1
                    else:
                        self._room.release()
                        yield from handed
            finally:
                self._stop()

    def _stop(self) -> None:
        with self._changed:
            self._stopped = True
            self._changed.notify_all()
        self._room.release(THREADS)

    def _work(self) -> None:
        while (taken := self._take()) is not None:
            self._list(taken)

    def _take(self) -> _Range | None:
        """A range to list, after which this thread counts as busy; None when all ranges are listed, or listing was
        stopped."""
        with self._changed:
            while not self._stopped:
                if self._waiting:
                    taken = self._waiting.popleft()
                    self._busy += 1
                    self._listed.append(taken)
                    return taken
                long_one = next((other for other in self._listed if other.pages >= LONG), None)
                if long_one is not None:
                    self._busy += 1
                    self._cut(long_one)
                    self._busy -= 1
                elif not self._busy:
                    break
                else:
                    self._changed.wait()
            self._changed.notify_all()
            return None

    def _cut(self, other: _Range) -> None:
        """Make a new range of the upper half of what is left of another. The lock is held, and released during the
        request."""
        other.pages = 0
        # The next idle thread shall try another range.
        self._listed.append(self._listed.pop(self._listed.index(other)))
        high = other.high
        middle = between(other.last, high)
        if middle is None:
            return
        self._changed.release()
        try:
            page = self._ask(Prefix=self._prefix, StartAfter=middle, MaxKeys=1)
        finally:
            self._changed.acquire()
        if other not in self._listed or other.high != high or other.last >= middle:
            return  # the range was listed beyond the middle in the meantime
        found = page.get("Contents", [])
        if found and (high is None or found[0]["Key"] <= high):
            other.high = middle
            self._waiting.append(_Range(middle, high))
        elif found or not page["IsTruncated"]:
            other.high = middle  # there is nothing above the middle; a truncated answer would not say so
            other.pages = LONG
        self._changed.notify_all()

    def _list(self, mine: _Range) -> None:
        options = {"StartAfter": mine.last}
        done = False
        while not done and not self._stopped:
            page = self._ask(Prefix=self._prefix, **options)
            found = page.get("Contents", [])
            last = _check_order(page, mine.last, self._uri)
            with self._changed:
                high = mine.high
                mine.last = last
                mine.pages += 1
                done = not page["IsTruncated"] or (high is not None and last >= high)
                if done:
                    self._listed.remove(mine)
                    self._busy -= 1
                self._changed.notify_all()
            if high is not None and last > high:
                found = [entry for entry in found if entry["Key"] <= high]
            self._room.acquire()
            self._handed.put(found)
            if not done:
                options = _next(page, self._uri)


def between(low: str, high: str | None) -> str | None:
    """A text about half-way between `low` and `high` (None: no upper end); None when there is none that is easy to
    find."""
    place = 0
    if high is not None:
        while place < len(low) and place < len(high) and low[place] == high[place]:
            place += 1
    below = ord(low[place]) if place < len(low) else FLOOR
    above = _ceiling(below) if high is None else ord(high[place]) if place < len(high) else 0
    if above - below < 2:
        # The characters are neighbours: look half-way between what follows the lower one and the upper end.
        place += 1
        below = ord(low[place]) if place < len(low) else FLOOR
        above = _ceiling(below)
    middle = low[:place] + chr(max((below + above) // 2, below + 1))
    fits = middle > low and (high is None or middle < high) and not 0xD800 <= ord(middle[-1]) <= 0xDFFF
    return middle if fits else None


# Most keys are ASCII without control characters. Where one key has a digit or a letter, other keys have one too.
FLOOR = 0x1F
CEILINGS = (ord("9") + 1, ord("Z") + 1, ord("z") + 1)


def _ceiling(code: int) -> int:
    return next((ceiling for ceiling in CEILINGS if code < ceiling - 1), 0x7F)


def parse_keys(response_dict: dict[str, Any], customized_response_dict: dict[str, Any], **_: Any) -> None:
    """Parse the keys of a listing; for botocore's event before-parse.s3.ListObjectsV2.

    botocore's own parser takes 60 µs for a key, mostly for dates. Here only the fields that are needed are read; the
    rest of the answer is left to botocore.
    """
    if response_dict["status_code"] != 200:
        return
    try:
        root = ElementTree.fromstring(response_dict["body"])
    except ElementTree.ParseError:
        return
    space = root.tag[: root.tag.rfind("}") + 1]
    contents, key, size, etag = (space + name for name in ("Contents", "Key", "Size", "ETag"))
    found = []
    for line in root.iterfind(contents):
        texts = {"Key": line.findtext(key), "Size": line.findtext(size), "ETag": line.findtext(etag)}
        entry: ListedObject = {name: text for name, text in texts.items() if text is not None}
        if "Size" in entry:
            entry["Size"] = int(entry["Size"])
        found.append(entry)
    if found:
        root[:] = [child for child in root if child.tag != contents]
        response_dict["body"] = ElementTree.tostring(root)
        customized_response_dict["Contents"] = found
