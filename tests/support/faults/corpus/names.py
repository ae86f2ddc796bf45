"""Whole images under names that shells, URLs, pages and file systems might take for something else."""

from __future__ import annotations

from functools import partial

from tests.support.faults.corpus.images import Hostile, encode, ok, rgb

_NAMES = (
    "two  spaces.png",
    " leading space.png",
    'it\'s "quoted".png',
    "`touch x`;$(id)&&|.png",
    "50% %41 %2F %00.png",
    "a+b+c.png",
    "?query=1&x=#fragment.png",
    "<script>alert(1)<!--.png",
    "<img src=x onerror=alert(1)>.png",
    "-rf.png",
    "--help.png",
    "=1+1.png",
    "back\\slash.png",
    "semi;colon,comma:colon.png",
    "[1].{2}*.png",
    "~user.png",
    "Ünïcode 雪.png",
    "e\u0301 decomposed.png",
    "\u00e9 composed.png",
    "\u202egnp.right-to-left.png",
    "zero\u200bwidth.png",
    "\u2028line-separator.png",
    "\U0001f600 \U0001f469\u200d\U0001f680.png",
    "\uff5e after the emoji in UTF-16.png",
    f"{'long' * 50}.png",
    "dots...png",
    "two.extensions.jpg.png",
    "sub folder/a=1/b.png",
    "deep/" * 20 + "c.png",
    "null.png",
    "boxes/part-0000000.jsonl.png",
    "manifest.json.png",
)


def names() -> dict[str, Hostile]:
    """Return the files by name."""
    return {f"names/{name}": ok(partial(encode, rgb(), "PNG")) for name in _NAMES}
