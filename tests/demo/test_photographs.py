"""Test the demo's part on real photographs: its input, its table and its sheet of images."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

from demo import __main__ as demo
from demo import photographs
from demo.photographs import NoPhotographs
from tests.jobs.helpers import write_photos

ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def record(name: str, *boxes: tuple[str, float], status: str = "ok") -> dict[str, object]:
    return {
        "image": f"/photos/{name}",
        "status": status,
        "boxes": [
            {"label": label, "score": score, "x": 4.0, "y": 6.0, "width": 20.0, "height": 10.0}
            for label, score in boxes
        ],
    }


def test_the_packages_photographs_are_linked_not_copied() -> None:
    pytest.importorskip("skimage", reason="scikit-image is missing: install the extra dev")
    folder = photographs.choose(None)
    found = {path.name for path in folder.iterdir()}
    assert {"astronaut.png", "chelsea.png"} <= found <= {n for names in photographs.PACKAGED.values() for n in names}
    assert all(path.is_symlink() and path.is_file() for path in folder.iterdir())
    assert photographs.choose(None) == folder  # again, over what is there


def test_without_the_packages_it_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(photographs, "find_spec", lambda _: None)
    with pytest.raises(NoPhotographs, match="extra `dev`, or name a folder with PHOTOS="):
        photographs.choose(None)


def test_a_folder_of_ones_own(tmp_path: Path) -> None:
    folder = write_photos(tmp_path / "my photos", 2)
    assert photographs.choose(str(folder)) == folder
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/A.JPG").touch()
    assert photographs.choose("deep") == Path("deep")


@pytest.mark.parametrize(
    ("named", "reason"),
    [
        ("nowhere", "PHOTOS=nowhere: there is no such folder"),
        ("notes.txt", "PHOTOS=notes.txt: there is no such folder"),
        ("empty", "PHOTOS=empty: no images in it"),
        ("words", "PHOTOS=words: no images in it"),
        (".", "PHOTOS=.: holds build/demo-photographs"),
        ("build/demo/s3/photos", "PHOTOS=build/demo/s3/photos: holds build/demo, or lies in it"),
    ],
)
def test_a_folder_that_will_not_do_ends_before_the_training(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, named: str, reason: str
) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "words").mkdir()
    (tmp_path / "build/demo/s3/photos").mkdir(parents=True)
    for path in ("notes.txt", "words/a.txt"):
        (tmp_path / path).touch()
    monkeypatch.setattr(sys, "argv", ["demo", named])
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: pytest.fail("a stage was run"))
    with pytest.raises(SystemExit) as ended:
        demo.main()
    assert str(ended.value.code).startswith(f"error: {reason}")


def test_the_table_is_a_line_a_photograph() -> None:
    shown = photographs.table(
        [
            record("a.jpg", ("cat", 0.5), ("dog", 0.987)),
            record("long name.png"),
            record("b.png", status="unreadable"),
        ]
    )
    assert shown.splitlines() == [
        "a.jpg           dog 0.99, cat 0.50",
        "long name.png   none of its classes",
        "b.png           (unreadable)",
    ]
    assert photographs.table([record(f"{i}.jpg") for i in range(1234)]).splitlines()[-1] == "... and 1,214 more"
    assert photographs.table([]) == ""


def test_the_image_has_a_cell_for_each_photograph_that_could_be_read(tmp_path: Path) -> None:
    Image.new("RGB", (1200, 300), "black").save(tmp_path / "wide.png")
    wide = record("wide.png", ("cat", 0.9), ("person", 0.8)) | {"image": str(tmp_path / "wide.png")}
    broken = record("broken.png", status="unreadable")
    one = photographs.draw([broken, wide])
    four = photographs.draw([wide] * 4)
    assert (four.width, four.height) == (3 * one.width, 2 * one.height)
    assert len(four.getcolors(1 << 20) or []) > 4  # white, black, and the boxes' colours
    assert photographs.draw([wide] * 50).height == 3 * one.height
    assert photographs.draw([broken]).getcolors() == [(one.width * one.height, (255, 255, 255))]


@pytest.mark.slow
def test_the_whole_part_on_a_folder(tmp_path: Path) -> None:
    """`make demo` runs this part with the shipped artifact, through the command."""
    write_photos(tmp_path / "photos", 3)
    (tmp_path / "photos/damaged.jpg").write_bytes(b"no picture")
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", "demo.photographs", "photos"],
        capture_output=True, text=True, env=environment, cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 3, done.stderr  # one in four failed: rejected, and shown all the same
    assert "damaged.jpg   (unreadable)" in done.stdout and "0001.png" in done.stdout
    assert (tmp_path / photographs.SHEET).stat().st_size > 1000
    assert (tmp_path / photographs.RUN / "manifest.json").is_file()
