"""Reads VOC annotations as a source does: stated, then fitted to the images."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from detector.data.checks import Split
from detector.data.formats.voc import state_lists
from detector.data.frames import FrameRules


def read_voc(roots: Sequence[Path], split: str, rules: FrameRules | None = None) -> Split:
    """Return the images that ImageSets/Main/<split>.txt lists."""
    return state_lists(roots, {"train": split})["train"].fit(rules or FrameRules())
