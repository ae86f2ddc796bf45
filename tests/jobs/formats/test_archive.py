"""ZIP files that are written without `zipfile`, and the names of their members."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path, PurePosixPath
from urllib.parse import unquote

from hypothesis import given
from hypothesis import strategies as st

from jobs.convert.archive import archive
from jobs.convert.names import Names


def test_zipfile_reads_what_is_written(tmp_path: Path) -> None:
    members = {"a.txt": b"", "ü/b c.bin": bytes(range(256)) * 9000, "z": b"z"}
    contents = []
    for path in (tmp_path / "one.zip", tmp_path / "two.zip"):
        with path.open("xb") as file, archive(file) as made:
            for name, data in members.items():
                made.add(name, data)
            made.add_file("last", io.BytesIO(b"from a file"))
        contents.append(path.read_bytes())
        assert [there.name for there in tmp_path.iterdir() if there.suffix != ".zip"] == []
    assert contents[0] == contents[1]
    with zipfile.ZipFile(tmp_path / "one.zip") as found:
        assert found.testzip() is None
        assert {name: found.read(name) for name in found.namelist()} == members | {"last": b"from a file"}
        assert {info.date_time for info in found.infolist()} == {(1980, 1, 1, 0, 0, 0)}
        assert {info.external_attr >> 16 for info in found.infolist()} == {0o100644}


def test_more_members_than_sixteen_bits_count(tmp_path: Path) -> None:
    count = 2**16 + 1
    path = tmp_path / "many.zip"
    with path.open("xb", buffering=2**20) as file, archive(file) as made:
        for number in range(count):
            made.add(f"{number}", b"")
    with zipfile.ZipFile(path) as found:
        assert len(found.namelist()) == count


def test_offsets_of_more_than_32_bits(tmp_path: Path) -> None:
    """The first 5 GiB are a hole, which takes no space on disk."""
    path = tmp_path / "large.zip"
    with path.open("xb") as file:
        file.seek(5 * 2**30)
        with archive(file) as made:
            made.add("first", b"1")
            made.add("second", b"2")
    with zipfile.ZipFile(path) as found:
        assert (found.read("first"), found.read("second")) == (b"1", b"2")
        assert found.getinfo("first").header_offset == 5 * 2**30


def _named(keys: list[str]) -> dict[str, tuple[str, str]]:
    names = Names()
    return {key: names.name(key) for key in sorted(keys, key=str.encode)}


def test_a_safe_key_is_its_own_name() -> None:
    keys = ["2024/06/IMG 1.JPG", "Zürich.jpeg", "a.b.png", "写真/猫.webp", "x-y_z(1).jpg"]
    assert {key: "".join(name) for key, name in _named(keys).items()} == {key: key for key in keys}


def test_hostile_keys() -> None:
    named = _named(
        [
            "../../etc/passwd.jpg",
            "/abs.jpg",
            "a//b.jpg",
            "a\\..\\b.jpg",
            "c:d.jpg",
            " x /y .jpg",
            "n\nl.png",
            "100%.jpg",
        ]
    )
    assert {key: "".join(name) for key, name in named.items()} == {
        "../../etc/passwd.jpg": "%2E%2E/%2E%2E/etc/passwd.jpg",
        "/abs.jpg": "%/abs.jpg",
        "a//b.jpg": "a/%/b.jpg",
        "a\\..\\b.jpg": "a%5C..%5Cb.jpg",
        "c:d.jpg": "c%3Ad.jpg",
        " x /y .jpg": "%20x%20/y%20.jpg",
        "n\nl.png": "n%0Al.png",
        "100%.jpg": "100%25.jpg",
    }


def test_keys_of_one_stem() -> None:
    named = _named(["a.jpg", "a.png", "a.b.png", "a.jpg/a.png", "a", "a-.jpg", "d/a.jpg"])
    assert named["a.jpg"] == ("a", ".jpg") and named["a.png"] == ("a%-png", ".png") and named["a"] == ("a%-", "")
    assert named["a.b.png"] == ("a.b", ".png") and named["d/a.jpg"] == ("d/a", ".jpg")
    assert len({name for name, _ in named.values()}) == len(named)


LETTERS = st.sampled_from(["a", "B", ".", "/", "\\", " ", "%", "-", "2", "E", "\n", "\x00", "ü", "🐈", ".jpg", ".png"])
KEYS = st.lists(LETTERS, min_size=1, max_size=9).map("".join)


@given(keys=st.lists(KEYS, max_size=40, unique=True), long=st.integers(1, 400))
def test_no_two_names_are_equal_and_none_leaves_its_folder(keys: list[str], long: int) -> None:
    keys = [*keys, "x" * long + ".jpg", "x" * (long + 1) + ".jpg", "🐈" * long]
    named = _named(list(dict.fromkeys(keys)))
    assert len({name for name, _ in named.values()}) == len(named)
    for key, (name, extension) in named.items():
        parts = name.split("/")
        assert PurePosixPath(name).parts == tuple(parts) and not {"", ".", ".."} & set(parts)
        assert all(len(f"{part}{extension}".encode()) <= 255 for part in parts)
        assert not set(name) & set('\\\n\x00"*:<>?|')
        if "%-" not in name and "%" not in parts:
            assert unquote(name + extension) == key
