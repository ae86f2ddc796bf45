"""The page of an audit in a real browser: with keys alone, on a phone with fingers alone, and with evil names."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from jobs.cli import main
from jobs.formats import Sample, Verdicts, read, sha256
from tests.detector.common.pages.browser import PHONE, Open, Opened, browser
from tests.jobs.helpers import Boxcar, encoded, write_photos
from tests.support.artifacts import make_artifact

__all__ = ["browser"]

pytestmark = pytest.mark.slow
EVIL = "</script><script>alert(1)<!--\u2028'\"&amp;.png"
LABELS = ("cat", "</script><script>alert(2)</script>", "写真 'ü\"")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """run/ over 2 images with evil names and labels, and audit/: 6 of its boxes and both images."""
    folder = tmp_path_factory.mktemp("audit")
    artifact = make_artifact(folder / "artifact", proposals=False, classes=LABELS)
    photos = write_photos(folder / "photos", 1)
    (photos / EVIL).parent.mkdir(parents=True)
    (photos / EVIL).write_bytes(encoded(7))
    for arguments in (
        ["run", photos, folder / "run", "--model", artifact, "--min-score", 0.3],
        ["audit", "draw", folder / "run", "--count", 6, "--images", 2, "--out", folder / "audit", "--seed", 1],
    ):
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == 0, result.output
    return folder


def _begin(page: Any, name: str) -> None:
    page.locator("#name").fill(name)
    page.locator("#go").click()


def _saved(opened: Opened, folder: Path) -> tuple[Path, Verdicts]:
    with opened.page.expect_download() as download:
        opened.page.locator("#save").click()
    path = folder / download.value.suggested_filename
    download.value.save_as(path)
    return path, read(Verdicts, path.read_bytes())


def _answer_boxes(page: Any, key: str = "1") -> int:
    """Judge boxes until a whole image asks what was missed; returns how many."""
    count = 0
    while page.locator("#verdicts").is_visible():
        page.keyboard.press(key)
        count += 1
    return count


def test_with_keys_alone_undone_reloaded_and_saved(world: Path, browser: Open, boxcar: Boxcar, tmp_path: Path) -> None:
    sample = read(Sample, (world / "audit/sample.json").read_bytes())
    with browser(world / "audit/audit.html", accept_downloads=True) as opened:
        page, keys = opened.page, opened.page.keyboard
        page.locator("#name").focus()
        keys.type("Ana / Zürich")
        keys.press("Enter")
        for key in ("4", "3", "5"):  # not an object, badly placed, cannot tell
            keys.press(key)
        keys.press("u")
        assert page.locator("#progress").inner_text().startswith("2 of ")
        keys.press("2")  # wrong label: the list has the other labels
        options = page.locator("#others option").all_inner_texts()
        assert options[0] == "something else" and len(options) == 3
        keys.press("ArrowDown")
        keys.press("Tab")
        keys.press("Enter")
        assert page.locator("#progress").inner_text().startswith("3 of ")
        # What was said survives a reload, and the page begins where it was left.
        page.reload()
        assert page.locator("#name").input_value() == "Ana / Zürich"
        keys.press("Tab")
        page.locator("#go").press("Enter")
        assert page.locator("#progress").inner_text().startswith("3 of ")
        _answer_boxes(page)
        keys.press("Enter")  # nothing is missed in the first whole image
        _answer_boxes(page)
        assert page.locator("#misses").is_visible()
        for key in ("ArrowUp", "ArrowUp", " ", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft", "ArrowLeft"):
            keys.press(key)
        for _ in range(10):
            keys.press("ArrowLeft")
        keys.press(" ")
        keys.press(" ")  # the same place again: not sure
        assert page.locator(".mark").count() == 2
        assert page.locator(".mark text").all_text_contents()[1].endswith("?")
        keys.press("Enter")
        assert page.locator("#end").is_visible()
        path, said = _saved(opened, tmp_path)
        assert path.name == "verdicts-Ana-Zürich.json" and said.reviewer == "Ana / Zürich"
        assert opened.complaints == []
        assert [url for url in opened.requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert sha256(said.sample.pretty()) == sha256((world / "audit/sample.json").read_bytes())
    first = [(box.image, box.number) for box in sample.boxes[:3]]
    assert [(box.image, box.number) for box in said.boxes[:3]] == first
    assert [box.verdict for box in said.boxes[:3]] == ["not_an_object", "badly_placed", "wrong_label"]
    assert said.boxes[2].label in set(LABELS) - {sample.boxes[2].box.label}
    assert {box.verdict for box in said.boxes[3:]} == {"right"}
    assert [len(image.missed) for image in said.images] == [0, 2]
    assert [missed.sure for missed in said.images[1].missed] == [True, False]
    boxcar("audit", "judge", world / "run", path)


def _tap(page: Any, across: float, down: float) -> None:
    """Tap the picture; across, down: parts of its sides."""
    place = page.locator("#picture").bounding_box()
    page.touchscreen.tap(place["x"] + across * place["width"], place["y"] + down * place["height"])


def test_on_a_phone_with_fingers_alone(world: Path, browser: Open, tmp_path: Path) -> None:
    options = {"viewport": PHONE, "has_touch": True, "is_mobile": True, "accept_downloads": True}
    with browser(world / "audit/audit.html", **options) as opened:
        page = opened.page
        _begin(page, "Ben")
        while page.locator("#verdicts").is_visible():
            # Every button can be reached without scrolling sideways, and is as high as a finger.
            for button in page.locator("#verdicts button").all():
                place = button.bounding_box()
                assert place["x"] >= 0 and place["x"] + place["width"] <= PHONE["width"] and place["height"] >= 44
            page.locator("[data-verdict=right]").tap()
        _tap(page, 0.5, 0.5)
        _tap(page, 0.3, 0.4)
        _tap(page, 0.7, 0.4)
        assert page.locator(".mark").count() == 3
        _tap(page, 0.5, 0.5)  # not sure
        _tap(page, 0.5, 0.5)  # and away with it
        page.locator("#misses .undo").tap()
        assert page.locator(".mark").count() == 1
        assert page.locator("#done").inner_text() == "done, 1 missed"
        page.screenshot(path=tmp_path / "phone.png")
        page.locator("#done").tap()
        while page.locator("#verdicts").is_visible():
            page.locator("[data-verdict=cannot_tell]").tap()
        page.locator("#unclear").tap()
        _, said = _saved(opened, tmp_path)
        assert opened.complaints == []
    assert [(len(image.missed), image.cannot_tell) for image in said.images] == [(1, False), (0, True)]
    (missed,) = said.images[0].missed
    assert missed.sure and missed.width == 0


def test_a_dragged_box_and_that_two_samples_share_nothing_and_that_a_browser_may_keep_nothing(
    world: Path, browser: Open, boxcar: Boxcar, tmp_path: Path
) -> None:
    boxcar("audit", "draw", world / "run", "--count", 4, "--images", 0, "--out", tmp_path / "other", "--seed", 2)
    with browser(world / "audit/audit.html", accept_downloads=True) as opened:
        page = opened.page
        _begin(page, "Cem")
        _answer_boxes(page)
        page.locator("#label").select_option(index=2)
        place = page.locator("#picture").bounding_box()
        x, y = place["x"] + place["width"] / 2, place["y"] + place["height"] / 2
        page.mouse.move(x - 60, y - 40)
        page.mouse.down()
        page.mouse.move(x + 60, y + 80, steps=3)
        page.mouse.up()
        page.locator("#picture").focus()
        page.keyboard.press("Enter")
        _, said = _saved(opened, tmp_path)
        (missed,) = said.images[0].missed
        assert missed.label == LABELS[2] and missed.sure
        assert missed.height / missed.width == pytest.approx(1, abs=0.1)
        assert all(value * 16 == int(value * 16) for value in (missed.x, missed.y, missed.width, missed.height))

        page.goto((tmp_path / "other/audit.html").as_uri())
        assert page.locator("#progress").inner_text() == "0 of 4" and page.locator("#name").input_value() == ""
        assert page.locator("#forgets").is_hidden()
        page.add_init_script("Storage.prototype.setItem = () => { throw new Error('full'); };")
        page.reload()
        assert page.locator("#forgets").is_visible()
        _begin(page, "Cem")
        page.keyboard.press("1")
        assert page.locator("#progress").inner_text() == "1 of 4"
        assert opened.complaints == []
