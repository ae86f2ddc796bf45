"""The browser, and a page that shows all that pages can."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from detector.common.pages import Box, Figure, Group, columns, curve, render_template, rows, thumbnail
from tests.detector.common.pages.browser import browser

__all__ = ["browser"]

HERE = "tests.detector.common.pages"


def picture(seed: int, width: int, height: int) -> str:
    """A thumbnail of noise around a colour."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 160, 3) + random.integers(0, 60, (height, width, 3))
    return thumbnail(pixels.astype(np.uint8), 20_000)


def figures() -> list[Figure]:
    """Six images: cats and dogs of several scores, one without an image, one without boxes."""
    boxes = [
        [Box("cat", 0, 0.9, 10, 10, 60, 40, marked=True), Box("dog", 1, 0.3, 80, 20, 50, 60)],
        [Box("cat", 0, 0.5, 5, 5, 30, 30)],
        [Box("dog", 1, 0.7, 0, 0, 160, 120), Box("dog", 1, None, 4, 4, 150, 110, kind="truth")],
        [Box("dog", 1, 0.2, 20, 30, 40, 50)],
        [Box("cat", 0, 0.6, 20, 30, 40, 50)],
        [],
    ]
    return [
        Figure(
            name=f"picture-{number}",
            title=f"s3://photos/{number}.jpg",
            width=160,
            height=120,
            picture=picture(number, 160, 120) if number < 4 else None,
            reason=None if number < 4 else "no such image any more",
            boxes=own,
            groups=["even" if number % 2 == 0 else "odd"],
            notes=[f"the picture with number {number}"],
        )
        for number, own in enumerate(boxes)
    ]


@pytest.fixture(scope="session")
def page(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The file of a page with charts and a gallery."""
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_bytes(
        render_template(
            HERE,
            "everything.html",
            rows=rows(["cat", "dog"], [3, 1], [2, 2], [("3", "2"), ("1", "2")]),
            chart=columns([0, 0.5, 1], [0.25, 0.75], [0.5, 0.5]),
            curves=[curve("cat", [(0, 1), (0.5, 0.5)], ("0.7", "average precision 0.7"))],
            figures=figures(),
            groups=[Group("even", "even numbers"), Group("odd", "odd numbers")],
            labels=["cat", "dog"],
        )
    )
    return path
