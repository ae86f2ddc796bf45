"""evaluation.html: figures, curves, and the worst mistakes as images."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest

from detector.evaluation.average_precision import evaluate_voc
from detector.evaluation.page import evaluation_page
from detector.evaluation.proposal_recall import recall_curve
from tests.detector.common.pages.browser import Open, browser

__all__ = ["browser"]

EVIL = "</script><script>alert(1)</script>"


def _read(image) -> np.ndarray:
    return np.full((image.height, image.width, 3), 90, np.uint8)


def _page(truth, found, score: float = 0.2, proposals=None) -> str:
    metrics = {"map_50_11point": 0.5, "map_70_11point": math.nan, "coco_ap": 0.25}
    recall = [] if proposals is None else recall_curve(truth, proposals, 2000)
    return evaluation_page(truth, found, evaluate_voc(truth, found), metrics, score, recall, _read).decode()


@pytest.fixture
def scored(make):
    """A cat that is found twice, a dog that is missed, and a class with an evil name on the dog's place."""
    truth = make.dataset(make.image(1, [(0, 0, 0, 100, 50), (1, 150, 50, 250, 150)]), classes=("cat", "dog", EVIL))
    rows = [(0.9, 0, 0, 0, 100, 50), (0.8, 0, 0, 0, 100, 48), (0.7, 2, 150, 50, 250, 150), (0.1, 1, 0, 0, 9, 9)]
    return truth, {1: make.found(rows)}


def test_mistakes_are_images_with_their_kind(scored) -> None:
    page = _page(*scored)
    assert page.count("<figure id=") == 4 and page.count('<img src="data:image/jpeg') == 4
    assert "swapped? annotated as dog, and" in page
    assert "cat 0.80: duplicate, IoU 0.96" in page and "confusion with dog, IoU 1.00" in page
    assert "dog missed, 17 % of the image: " in page and "0.70 is there, IoU 1.00" in page
    assert "Objects found: 1 of 2; missed: 1; wrong detections: 2." in page
    assert "dog 0.10" not in page  # below the score


def test_figures_that_are_not_known_are_dashes(scored) -> None:
    page = _page(*scored)
    assert "<dd>0.500<small>" in page and "<dd>–<small>" in page and "no stored proposals" in page


def test_the_recall_of_proposals_is_drawn_where_there_are_some(scored) -> None:
    truth, found = scored
    page = _page(truth, found, proposals={1: np.array([[0, 0, 9, 9], [0, 0, 100, 50]], np.float32)})
    assert "1 proposals 0.000; 2 proposals 0.500" in page and "best overlap (MABO)" in page


def test_a_detector_that_finds_nothing_has_a_page(make) -> None:
    page = _page(make.dataset(make.image(1, [(0, 0, 0, 100, 50)])), {})
    assert "nothing was found" in page and "Objects found: 0 of 1;" in page
    assert "No detection is wrong and no object is missed." in _page(make.dataset(make.image(1, [])), {})


def test_a_crowded_image_keeps_its_mistake(make) -> None:
    rows = [(0.99 - i / 1000, 1, 2 * i, 100, 2 * i + 50, 150) for i in range(60)]
    truth = make.dataset(make.image(1, [(0, 0, 0, 100, 50)]))
    page = _page(truth, {1: make.found(rows)})
    assert page.count(" marked") == page.count("<figure id=") == 31 + 10 and "31 more boxes are not drawn" in page


def test_the_page_works_in_a_browser_whatever_a_class_is_called(scored, browser: Open, tmp_path: Path) -> None:
    path = tmp_path / "evaluation.html"
    path.write_text(_page(*scored), "utf-8")
    with browser(path) as opened:
        assert len(opened.shown()) == 4
        opened.choose("group", "missed")
        assert len(opened.shown()) == 1
        opened.choose("group", "")
        opened.choose("label", EVIL)
        assert len(opened.shown()) == 4  # it is drawn in each of them
        opened.page.screenshot(path=tmp_path / "evaluation.png", full_page=True)
        assert (
            opened.complaints == [] and [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
        )
