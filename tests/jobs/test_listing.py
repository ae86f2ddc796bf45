"""Long listings: which images are taken, in which order, and that none is lost or met twice."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import boto3
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.errors import StorageError
from jobs.formats import Filters, PlannedImage
from jobs.listing import CopyCounts, PreviousImage, Selection, plan_line, plan_lines, sort_images, version_of
from jobs.storage import Entry, S3Store, s3_listing
from jobs.storage.s3_listing import between, list_keys
from tests.conftest import Bucket

# Anything that UTF-8 can say, often the characters that lines and escapes are made of.
ODD = '\x00\x01\x02\t\n\r"\\/.a\x7f\u2028é雪\U0001f600'
KEYS = (
    st.text(st.sampled_from("\x00\x01\x02\t\na"))
    | st.text(st.sampled_from(ODD))
    | st.text(st.characters(codec="utf-8"))
)
ETAGS = st.none() | KEYS


@given(key=KEYS, size=st.integers(0, 2**60), etag=ETAGS, mtime=st.none() | st.integers(), previous=st.none() | KEYS)
def test_a_plans_line_is_the_canonical_one(
    key: str, size: int, etag: str | None, mtime: int | None, previous: str | None
) -> None:
    line = plan_line(key, version_of(size, etag, mtime), previous)
    image = PlannedImage(key=key, size=size, etag=etag, mtime_ns=mtime, previous=previous)
    assert line == image.canonical() + b"\n"


@given(st.lists(KEYS))
def test_images_are_sorted_by_the_bytes_of_their_keys(keys: list[str]) -> None:
    """Equal keys stay: they are an error that names the key."""
    images = [(key.encode(), number, key, None) for number, key in enumerate(keys)]
    assert [image[0] for image in sort_images(iter(images))] == sorted(image[0] for image in images)
    assert sorted(sort_images(images)) == sorted(images)


# Sorts as many images as the first argument says, with files of no more bytes than the second.
LIMITED = """
import resource, signal, sys
from jobs.listing import sort_images
count, limit = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
from jobs.errors import StorageError
images = ((b"%09d" % (number * 7919 % count), number, "e" * 32, None) for number in range(count))
try:
    found = [key for key, *_ in sort_images(images)]
except StorageError as error:
    print(error)
else:
    print(found == [b"%09d" % number for number in range(count)], resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def _sorted_within(count: int, limit: int, folder: Path) -> str:
    command = [sys.executable, "-c", LIMITED, str(count), str(limit)]
    environment = os.environ | {"TMPDIR": str(folder), "PYTHONPATH": os.getcwd()}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout


def test_a_small_listing_never_touches_the_disk(tmp_path: Path) -> None:
    assert _sorted_within(50_000, 0, tmp_path).startswith("True")


def test_a_temporary_folder_that_is_full(tmp_path: Path) -> None:
    message = _sorted_within(600_000, 2**20, tmp_path)
    assert f"{tmp_path}: cannot hold the listing while it is sorted: " in message and "let TMPDIR name" in message
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_a_long_listing_takes_no_more_memory(tmp_path: Path) -> None:
    """What the cache does not hold lies on the disk, in files without a name. The test's own list of keys is counted
    too: 60 bytes a key."""
    peaks = {count: int(_sorted_within(count, 2**30, tmp_path).split()[1]) for count in (300_000, 900_000)}
    assert peaks[900_000] - peaks[300_000] < 600_000 * 100 / 1024
    assert not list(tmp_path.iterdir())


def _chosen(filters: Filters, keys: list[str]) -> tuple[list[str], Selection]:
    selection = Selection(filters)
    return [key.decode() for key, *_ in selection.images(Entry(key, 3, "e") for key in keys)], selection


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["2023/a.jpg", "2024/a.JPG", "2024/x/b.png", "top.jpg"]),
        ({"include": ["2024/*"]}, ["2024/a.JPG", "2024/x/b.png"]),
        ({"include": ["2024/*", "top.*"]}, ["2024/a.JPG", "2024/x/b.png", "top.jpg"]),
        ({"exclude": ["*/x/*", "2023*"]}, ["2024/a.JPG", "top.jpg"]),
        ({"include": ["*/?.*"], "exclude": ["*.png"]}, ["2023/a.jpg", "2024/a.JPG"]),
        ({"include": ["A.jpg"]}, []),
        ({"extensions": ["png"]}, ["2024/x/b.png"]),
        ({"extensions": ["heic", "png"]}, ["2024/c.heic", "2024/x/b.png"]),
    ],
)
def test_filters(filters: dict[str, list[str]], expected: list[str]) -> None:
    images = ["2023/a.jpg", "2024/a.JPG", "2024/x/b.png", "top.jpg"]
    others = ["2024/c.heic", "2024/.jpg", ".png", "jpg", "2024/", "a.jpg/", "a.jpg/readme"]
    chosen, selection = _chosen(Filters(**({"extensions": ["jpg", "png"]} | filters)), images + others)
    assert sorted(chosen) == expected
    counts = selection.counts
    assert (counts.images, counts.bytes) == (len(expected), 3 * len(expected))
    assert counts.images + counts.filtered + counts.other_files + counts.hidden == len(images + others)
    if "extensions" not in filters:
        assert (counts.other_files, counts.hidden) == (len(others) - 2, 2)


def test_the_same_version_is_that_of_the_previous_run() -> None:
    """By size, and ETag or time; what nobody knows the version of is computed."""
    there: dict[str, Any] = {
        "a": (1, "e", None), "b": (1, "e", None), "c": (1, None, 5), "d": (1, None, None), "gone": (1, "e", None),
        "z": (1, "e", None),
    }  # fmt: skip
    here: dict[str, Any] = {
        "a": (1, "e", None), "b": (2, "e", None), "c": (1, None, 5), "d": (1, None, None), "new": (1, "e", None),
        "z": (1, "f", None),
    }  # fmt: skip
    copies = CopyCounts()
    earlier = (PreviousImage(key.encode(), version_of(*version), 1, "part-0000007") for key, version in there.items())
    lines = list(plan_lines([(key.encode(), *version) for key, version in here.items()], earlier, copies, "s3://b/"))
    images = [PlannedImage.model_validate_json(line) for line in lines]
    assert [image.key for image in images if image.previous == "part-0000007"] == ["a", "c"]
    assert (copies.images, copies.bytes) == (2, 2)


class Server:
    """ListObjectsV2 over keys in memory, as S3 answers it."""

    def __init__(self, keys: set[str], page: int) -> None:
        self.keys = sorted(keys)
        self.page = page
        self.requests = 0

    def ask(
        self,
        Prefix: str,
        StartAfter: str = "",
        ContinuationToken: str = "",
        Delimiter: str = "",
        MaxKeys: int = 1000,
    ) -> dict[str, Any]:
        self.requests += 1
        limit = min(self.page, MaxKeys)
        contents: list[dict[str, Any]] = []
        folders: dict[str, None] = {}
        last = ""
        for key in self.keys:
            end = key.find(Delimiter, len(Prefix)) if Delimiter else -1
            folder = key[: end + 1] if end >= 0 else None
            if not key.startswith(Prefix) or key <= max(StartAfter, ContinuationToken) or folder in folders:
                continue
            if len(contents) + len(folders) == limit:
                page = {"IsTruncated": True, "NextContinuationToken": last}
                break
            if folder is None:
                contents.append({"Key": key})
            else:
                folders[folder] = None
            last = key
        else:
            page = {"IsTruncated": False}
        return page | {"Contents": contents, "CommonPrefixes": [{"Prefix": folder} for folder in folders]}


TREES = st.sets(
    st.lists(st.text(st.sampled_from("ab0~!é\U0001f600"), max_size=3), min_size=1, max_size=5).map("/".join)
)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(keys=TREES, page=st.integers(1, 4), head=st.integers(1, 3), prefix=st.sampled_from(["", "a/", "é"]))
def test_every_key_once_whatever_the_tree(
    monkeypatch: pytest.MonkeyPatch, keys: set[str], page: int, head: int, prefix: str
) -> None:
    monkeypatch.setattr(s3_listing, "HEAD_PAGES", head)
    monkeypatch.setattr(s3_listing, "ENOUGH", 3)
    monkeypatch.setattr(s3_listing, "THREADS", 4)
    keys.discard("")
    listed = [found["Key"] for found in list_keys(Server(keys, page).ask, prefix, "s3://b/")]
    assert sorted(listed) == sorted(key for key in keys if key.startswith(prefix))


@pytest.mark.parametrize(
    "keys",
    [
        [f"{index:06d}.jpg" for index in range(3000)],
        [f"u/{index * 7919 % 100_003:08x}/photo.jpg" for index in range(3000)],
        [f"a/very/deep/folder/{index:04d}.jpg" for index in range(3000)],
        [f"2024/{index % 12:02d}/{index % 28:02d}/{index}.jpg" for index in range(3000)],
        # Borders that are keys: consoles make such objects for folders.
        [f"{index // 60:02d}/{index % 60 or ''}" for index in range(3000)],
    ],
    ids=["flat", "many folders", "deep", "dates", "markers"],
)
def test_ranges_are_shared(keys: list[str]) -> None:
    """More threads than one have keys to list, for not many more requests than pages."""
    server = Server(set(keys), 10)
    listing: set[str] = set()

    def ask(**options: Any) -> dict[str, Any]:
        if "MaxKeys" not in options and "Delimiter" not in options:
            listing.add(threading.current_thread().name)
        time.sleep(0.001)  # as a server does: the others get their turn
        return server.ask(**options)

    assert sorted(found["Key"] for found in list_keys(ask, "", "s3://b/")) == sorted(keys)
    assert len(listing) > 8
    assert server.requests < 3 * len(keys) / 10


@given(low=KEYS, high=st.none() | KEYS)
def test_between(low: str, high: str | None) -> None:
    if high is None or low < high:
        middle = between(low, high)
        assert middle is None or (low < middle and (high is None or middle < high))
        assert middle is None or middle.encode()


def test_a_small_prefix_costs_one_request() -> None:
    server = Server({f"p/{index}" for index in range(1000)} | {"q"}, 1000)
    assert len(list(list_keys(server.ask, "p/", "s3://b/"))) == 1000
    assert server.requests == 1


def test_a_server_that_lists_out_of_order() -> None:
    for count in (20, 2000):  # within the first pages, and in a range
        server = Server({f"{index:06d}" for index in range(count)}, 10)
        server.keys[-2:] = server.keys[:-3:-1]
        with pytest.raises(StorageError, match="not in the order of UTF-8 bytes"):
            list(list_keys(server.ask, "", "s3://b/"))
    assert not _listing_threads()


def _listing_threads() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("list")]


def test_an_error_in_a_thread_ends_the_listing() -> None:
    server = Server({f"{index:06d}" for index in range(2000)}, 10)

    def ask(**options: Any) -> dict[str, Any]:
        if server.requests > 100:
            raise StorageError("s3://b/: gone")
        return server.ask(**options)

    with pytest.raises(StorageError, match="gone"):
        list(list_keys(ask, "", "s3://b/"))
    assert not _listing_threads()


def test_a_consumer_that_leaves_or_is_slow() -> None:
    """What is not taken is not fetched, and nothing is left behind."""
    server = Server({f"{index:06d}" for index in range(20_000)}, 10)
    listing = list_keys(server.ask, "", "s3://b/")
    for _ in range(1000):
        next(listing)
    before, requests = -1, server.requests
    while before != requests:  # until every thread waits
        time.sleep(0.2)
        before, requests = requests, server.requests
    assert requests < 400
    listing.close()
    assert not _listing_threads()


def _tree(count: int) -> list[str]:
    return [f"{index % 7}/{index % 3} é/{index:05d}+%.jpg" for index in range(count)]


@pytest.fixture
def cut_early(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ranges from the second page on."""
    monkeypatch.setattr(s3_listing, "HEAD_PAGES", 1)


def _listed(store: Any) -> tuple[dict[str, Entry], list[dict[str, Any]]]:
    """What the store lists, in small pages, and with which requests."""
    asked: list[dict[str, Any]] = []

    def note(params: dict[str, Any], **_: object) -> None:
        params.setdefault("MaxKeys", 20)
        asked.append(dict(params))

    store.client.meta.events.register("before-parameter-build.s3.ListObjectsV2", note)
    entries = list(store.list())
    assert len({entry.key for entry in entries}) == len(entries)
    return {entry.key: entry for entry in entries}, asked


@pytest.mark.slow
def test_rclone_lists_every_key_once(bucket: Bucket, cut_early: None, tmp_path: Path) -> None:
    keys = _tree(300)
    for key in keys:
        path = tmp_path / "photos" / key
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    bucket.upload(tmp_path / "photos", "photos")
    bucket.put("photos-not/1.jpg", b"x")
    entries, asked = _listed(S3Store(f"{bucket.uri}/photos"))
    assert sorted(entries) == sorted(keys)
    assert any("StartAfter" in options for options in asked)


@pytest.mark.parametrize("name", ["photos", "photos--use1-az4--x-s3"])
@pytest.mark.slow
def test_moto_lists_every_key_once(moto: str, cut_early: None, name: str) -> None:
    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket="photos")
    keys = [*_tree(200), "control\x01\t.jpg", "a+b c%20.jpg"]
    for key in keys:
        client.put_object(Bucket="photos", Key=f"in/{key}", Body=b"xy")
    store: Any = S3Store("s3://photos/in")
    if name != "photos":  # moto has no directory buckets; this one only bears the name of one
        store.bucket = name
        store.client.meta.events.register(
            "before-parameter-build.s3.ListObjectsV2", lambda params, **_: params.update(Bucket="photos")
        )
    entries, asked = _listed(store)
    assert sorted(entries) == sorted(keys)
    assert {(entry.size, entry.etag) for entry in entries.values()} == {(2, "3e44107170a520582ade522fa73c1d15")}
    assert any("StartAfter" in options for options in asked) == (name == "photos")


def test_the_quick_reader_reads_what_botocores_does(moto: str, monkeypatch: pytest.MonkeyPatch) -> None:
    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket="photos")
    for key in ("a b+c.jpg", "<&>\"'.jpg", "\x01.jpg", "é/雪.jpg"):
        client.put_object(Bucket="photos", Key=key, Body=key.encode())
    quick = list(S3Store("s3://photos").list())
    seen: list[int] = []
    monkeypatch.setattr("jobs.storage.s3.parse_keys", lambda **_options: seen.append(1))
    slow = list(S3Store("s3://photos").list())
    assert seen and len(quick) == 4 and quick == slow
