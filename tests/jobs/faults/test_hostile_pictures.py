"""Every picture of the hostile corpus has the record, the size and the colours that it must have."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from benchmarks.fault_tools.corpus import Hostile, corpus, middles
from benchmarks.fault_tools.hostile import run_over_all
from benchmarks.fault_tools.world import World
from detector.common.errors import ImageError
from detector.runtime.images import decode_image

ROOT = Path(__file__).parents[3]
# pytest puts preprocess.py's own filter out of force.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_the_corpus_is_the_same_every_time() -> None:
    assert {name: picture.make() for name, picture in corpus().items()} == {
        name: picture.make() for name, picture in corpus().items()
    }


@pytest.mark.parametrize("picture", [pytest.param(picture, id=name) for name, picture in corpus().items()])
def test_decoded(picture: Hostile) -> None:
    data = picture.make()
    if picture.status != "ok":
        with pytest.raises(ImageError) as caught:
            decode_image(data)
        assert caught.value.status == picture.status
        return
    pixels = decode_image(data)
    assert (pixels.shape[1], pixels.shape[0]) == picture.size
    if picture.corners is not None:
        for found, expected in zip(middles(pixels), picture.corners, strict=True):
            assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= picture.tolerance, middles(pixels)


def test_a_run_over_all(world: World) -> None:
    run_over_all(world, "hostile")


def test_there_is_enough_of_each() -> None:
    counts = Counter(picture.status for picture in corpus().values())
    assert counts.keys() == {"ok", "empty", "unreadable", "too_large"}
    assert min(counts["ok"], counts["unreadable"]) > 60


# Prints the most memory in use, MB, before and after all bombs; a process of its own, because the peak never falls.
_PEAK = """
import resource
from benchmarks.fault_tools.corpus import bombs, corpus
from detector.common.errors import ImageError
from detector.runtime.images import decode_image
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
decode_image(corpus()["baseline.jpg"].make())
made = [picture.make() for picture in bombs().values()]
print(peak())
for data in made:
    try:
        decode_image(data)
    except ImageError:
        pass
print(peak())
"""


def test_bombs_are_refused_before_they_are_decoded() -> None:
    """The smallest of them has 178 megapixels; a colour plane alone would be more than the bound."""
    done = subprocess.run([sys.executable, "-c", _PEAK], cwd=ROOT, capture_output=True, text=True, check=True)
    before, after = map(int, done.stdout.split())
    assert after - before < 100


def test_no_other_program_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Pillow hands PostScript to Ghostscript where that is installed; a picture's name says nothing of its bytes."""
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(ImageError, match="not an image"):
        decode_image(corpus()["other-postscript.jpg"].make())
    assert not (tmp_path / "started").exists()
