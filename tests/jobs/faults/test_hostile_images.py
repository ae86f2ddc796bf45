"""Every image of the hostile corpus has the record, the size and the colours that it must have."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from detector.common.errors import ImageError
from detector.runtime.images import decode_image
from tests.jobs.faults.checks import assert_ended
from tests.support.faults.corpus import Hostile, corpus, middles
from tests.support.faults.hostile import run_over_all
from tests.support.faults.world import World

ROOT = Path(__file__).parents[3]
# pytest resets the warning filters, among them the one that the decoder sets for itself.
pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")


def test_the_corpus_is_the_same_every_time() -> None:
    assert {name: image.make() for name, image in corpus().items()} == {
        name: image.make() for name, image in corpus().items()
    }


@pytest.mark.parametrize("image", [pytest.param(image, id=name) for name, image in corpus().items()])
def test_decoded(image: Hostile) -> None:
    data = image.make()
    if image.status != "ok":
        with pytest.raises(ImageError) as caught:
            decode_image(data)
        assert caught.value.status == image.status
        return
    pixels = decode_image(data)
    assert (pixels.shape[1], pixels.shape[0]) == image.size
    if image.corners is not None:
        for found, expected in zip(middles(pixels), image.corners, strict=True):
            assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= image.tolerance, middles(pixels)


def test_a_run_over_all(world: World) -> None:
    """Each image of the bucket has exactly one record, in the order of keys, with its status and size."""
    happened, images = run_over_all(world, "hostile"), corpus()
    assert_ended(happened, {"run": 0})
    assert happened.states["end"].published and happened.states["end"].status == "valid"
    found = happened.facts["records"]
    assert [key for key, _ in found] == sorted(images, key=str.encode)
    for key, record in found:
        image = images[key]
        size = None if record["width"] is None else (record["width"], record["height"])
        assert (record["status"], size) == (image.status, image.size), key
        assert (record["error"] is None) == (record["status"] == "ok"), key
        assert record["status"] == "ok" or not record["boxes"], key


def test_there_is_enough_of_each() -> None:
    counts = Counter(image.status for image in corpus().values())
    assert counts.keys() == {"ok", "empty", "unreadable", "too_large"}
    assert min(counts["ok"], counts["unreadable"]) > 60


# Prints the most memory in use, MB, before and after all bombs; a process of its own, because the peak never falls.
_PEAK = """
import resource
from tests.support.faults.corpus import bombs, corpus
from detector.common.errors import ImageError
from detector.runtime.images import decode_image
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
decode_image(corpus()["baseline.jpg"].make())
made = [image.make() for image in bombs().values()]
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
    """Pillow hands PostScript to Ghostscript where that is installed; a image's name says nothing of its bytes."""
    program = tmp_path / "gs"
    program.write_text(f"#!/bin/sh\ntouch {tmp_path}/started\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(ImageError, match="no reader for its format, PostScript"):
        decode_image(corpus()["other-postscript.jpg"].make())
    assert not (tmp_path / "started").exists()
