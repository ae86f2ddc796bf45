"""A page in a real browser: filters, the larger view, the keyboard, phones, and without its script."""

from __future__ import annotations

from pathlib import Path

from tests.detector.common.pages.browser import PHONE, Open

ALL = [f"s3://photos/{number}.jpg" for number in range(6)]


def test_filters_leave_the_boxes_that_were_asked_for(browser: Open, page: Path, tmp_path: Path) -> None:
    with browser(page) as opened:
        assert opened.shown() == ALL and opened.counted() == "6 of 6 images, 7 boxes"
        opened.choose("label", "cat")
        assert opened.shown() == [ALL[0], ALL[1], ALL[4]] and opened.counted() == "3 of 6 images, 3 boxes"
        assert opened.page.locator("#picture-0 g:visible").count() == 1  # the dog beside the cat is hidden
        opened.slide(0.55)
        assert opened.shown() == [ALL[0], ALL[4]]
        assert opened.page.locator("output").inner_text() == "0.55"
        opened.choose("group", "odd")
        assert opened.shown() == [] and opened.page.locator(".nothing").is_visible()
        opened.page.screenshot(path=tmp_path / "nothing.png")
        opened.page.locator("button[type=reset]").click()
        opened.page.wait_for_function("document.querySelectorAll('figure[hidden]').length === 0")
        assert opened.shown() == ALL
        assert opened.complaints == [] and opened.requests == [page.as_uri()] + [
            url for url in opened.requests if url.startswith("data:")
        ]


def test_the_slider_moves_with_the_keyboard(browser: Open, page: Path) -> None:
    with browser(page) as opened:
        opened.slide(0.8)
        assert opened.shown() == [ALL[0]]  # the truth in the third one does not keep it
        opened.page.locator("[data-filter=score]").focus()
        opened.page.keyboard.press("End")
        opened.settle()
        assert opened.page.locator("output").inner_text() == "1.00" and opened.shown() == []


def test_a_link_brings_back_an_image_that_is_filtered_out(browser: Open, page: Path) -> None:
    with browser(page) as opened:
        opened.choose("label", "dog")
        assert ALL[4] not in opened.shown()
        opened.page.locator("nav a").click()
        opened.page.wait_for_function("!document.getElementById('picture-4').hidden")
        assert opened.shown() == ALL


def test_the_keyboard_opens_goes_on_and_closes(browser: Open, page: Path, tmp_path: Path) -> None:
    with browser(page) as opened:
        title, dialog = opened.page.locator("#larger-title"), opened.page.locator("dialog")
        opened.page.locator("#picture-1 .frame").focus()
        opened.page.keyboard.press("Enter")
        assert title.inner_text() == ALL[1]
        opened.page.keyboard.press("ArrowRight")
        assert title.inner_text() == ALL[2]
        assert dialog.locator("li").all_inner_texts() == ["dog, 150 × 110 px at 4, 4", "dog 0.70, 160 × 120 px at 0, 0"]
        opened.page.screenshot(path=tmp_path / "larger.png")
        for _ in range(3):
            opened.page.keyboard.press("ArrowLeft")
        assert title.inner_text() == ALL[5]  # round the end
        opened.page.keyboard.press("Escape")
        assert not dialog.is_visible()
        # The event of the dialog's end comes a moment after the dialog is gone.
        opened.page.locator("#picture-5 :focus").wait_for(state="attached")
        assert opened.complaints == []


def test_the_larger_view_goes_on_among_what_the_filters_leave(browser: Open, page: Path) -> None:
    with browser(page) as opened:
        opened.choose("label", "cat")
        opened.page.locator("#picture-0 .frame").click()
        assert opened.page.locator("dialog li").count() == 1
        opened.page.locator("dialog [data-step='1']").click()
        opened.page.locator("dialog [data-step='1']").click()
        assert opened.page.locator("#larger-title").inner_text() == ALL[4]
        opened.page.locator("dialog [data-close]").click()
        assert not opened.page.locator("dialog").is_visible()


def test_a_phone_shows_the_page_without_scrolling_sideways(browser: Open, page: Path, tmp_path: Path) -> None:
    with browser(page, viewport=PHONE, color_scheme="dark") as opened:
        opened.page.screenshot(path=tmp_path / "phone.png", full_page=True)
        assert opened.page.evaluate("document.documentElement.scrollWidth") == PHONE["width"]


def test_colours_follow_the_reader(browser: Open, page: Path) -> None:
    papers = []
    with browser(page) as opened:
        for scheme in ("light", "dark"):
            opened.page.emulate_media(color_scheme=scheme)
            papers.append(opened.page.evaluate("getComputedStyle(document.body).backgroundColor"))
    light, dark = (sum(map(int, paper[4:-1].split(","))) for paper in papers)
    assert light > 700 and dark < 100


def test_without_its_script_the_page_shows_everything(browser: Open, page: Path) -> None:
    with browser(page, java_script_enabled=False) as opened:
        assert opened.page.locator("figure figcaption .key").count() == len(ALL)
        assert not opened.page.locator(".tools").is_visible()
        assert opened.page.locator("#picture-0 g").count() == 2 and not opened.page.locator("dialog").is_visible()
