"""A run with evil names, labels and rules in a real browser: all of it is text."""

from __future__ import annotations

import json
from pathlib import Path

from jobs.formats import sha256
from tests.detector.common.pages.browser import Open
from tests.jobs.helpers import Boxcar
from tests.jobs.report.conftest import SCRIPT, judged, rule

LABEL = "</script><script>alert('label \"quoted\"')</script>"
SENTENCE = 'No "box" is <b onmouseover=alert(3)>outside</b></script><script>alert(4)</script>.'


def _relabel(output: Path) -> None:
    """Give every box of the first part an evil label, as a rejected run may hold, and sign it."""
    part, stats = output / "boxes/part-0000000.jsonl", output / "stats/part-0000000.json"
    records = [json.loads(line) for line in part.read_bytes().splitlines()]
    for record in records:
        record["boxes"] = [box | {"label": LABEL} for box in record["boxes"]]
    data = b"".join(json.dumps(record).encode() + b"\n" for record in records)
    part.write_bytes(data)
    stats.write_text(json.dumps(json.loads(stats.read_bytes()) | {"sha256": sha256(data)}))


def test_nothing_in_a_run_becomes_a_script(boxcar: Boxcar, worked: Path, browser: Open, tmp_path: Path) -> None:
    _relabel(worked)
    evil = f"{tmp_path}/photos/{SCRIPT}"
    judged(worked, rule("labels_known", "rejected", [evil, "<img src=x onerror=alert(5)>"], SENTENCE))
    boxcar("report", worked)
    with browser(worked / "report.html") as opened:
        page = opened.page
        assert evil in opened.shown() and SENTENCE in page.locator("#content").inner_text()
        assert "<img src=x onerror=alert(5)>" in page.locator(".examples").inner_text()
        assert LABEL in page.locator("[data-filter=label] option").all_inner_texts()
        page.locator(".examples a").click()
        page.locator(":target .frame").click()
        assert page.locator("#larger-title").inner_text() == evil
        page.screenshot(path=tmp_path / "evil.png")
        page.keyboard.press("Escape")
        page.mouse.move(300, 300)
        opened.choose("group", "failed")
        assert len(opened.shown()) == 2
        page.screenshot(path=tmp_path / "failed.png", full_page=True)
        assert opened.complaints == []
        assert [url for url in opened.requests if not url.startswith(("file:", "data:"))] == []
