"""A real browser for tests of pages: a Chromium that is installed, driven by playwright."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

NAMES = ("chromium", "chromium-browser", "google-chrome-stable", "google-chrome")
PHONE = {"width": 390, "height": 844}


@dataclass
class Opened:
    """A page in the browser; what went wrong in it so far; what it asked for besides itself."""

    page: Any
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def shown(self) -> list[str]:
        """Titles of the images that can be seen."""
        return list(
            self.page.evaluate(
                "[...document.querySelectorAll('.gallery figure')].filter((figure) => figure.checkVisibility())"
                ".map((figure) => figure.querySelector('.key').title)"
            )
        )

    def counted(self) -> str:
        """Return the line that says how many images the gallery shows."""
        return str(self.page.locator(".shown").inner_text())

    def slide(self, value: float) -> None:
        """Move the slider of scores, as a hand does."""
        self.page.locator("[data-filter=score]").fill(str(value))
        self.settle()

    def choose(self, name: str, value: str) -> None:
        """Choose in a list of the gallery's tools."""
        self.page.locator(f"[data-filter={name}]").select_option(value)
        self.settle()

    def settle(self) -> None:
        """Wait for the next frame: filters are applied with it."""
        self.page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


Open = Callable[..., contextlib.AbstractContextManager[Opened]]


@pytest.fixture(scope="module")  # one driver at a time: its event loop runs as long as it does
def browser() -> Iterator[Open]:
    """`with browser(path, **options) as opened`: a file in a new window, whose options are those of playwright."""
    playwright = pytest.importorskip("playwright.sync_api", reason="pages are not tried in a browser: no playwright")
    path = next(filter(None, map(shutil.which, NAMES)), None)
    if path is None:
        pytest.skip(f"pages are not tried in a browser: none of {', '.join(NAMES)} is installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path)

        @contextlib.contextmanager
        def opened(file: Path, **options: Any) -> Iterator[Opened]:
            context = chromium.new_context(**options)
            page = context.new_page()
            page.set_default_timeout(60_000)  # milliseconds; enough for a slow machine
            found = Opened(page)
            page.on("console", lambda message: found.complaints.append(f"{message.type}: {message.text}"))
            page.on("pageerror", lambda error: found.complaints.append(f"error: {error}"))
            page.on("dialog", lambda dialog: (found.complaints.append(f"dialog: {dialog.message}"), dialog.dismiss()))
            page.on("request", lambda request: found.requests.append(request.url))
            page.goto(file.as_uri())
            yield found
            context.close()

        yield opened
        chromium.close()
