"""Texts are harmless whatever they hold, and the page admits its own style and script only."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import UndefinedError

from detector.common.pages.render import byte_size, moment, render_template, share, visible

HERE = "tests.detector.common.pages"
HOSTILE = "</script></title><script>alert(1)</script>\"'><img src=x onerror=alert(2)>\u202egpj.exe\x00"


class _Elements(HTMLParser):
    """Names of all elements, their attributes, and the texts outside the style and the script."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.names: list[str] = []
        self.attributes: list[tuple[str, str | None]] = []
        self.texts: list[str] = []
        self.feed(page.decode())

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.names.append(tag)
        self.attributes += attrs

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_hostile_texts_become_text() -> None:
    plain, hostile = (_Elements(render_template(HERE, "one.html", text=text)) for text in ("plain", HOSTILE))
    assert hostile.names == plain.names and "img" not in hostile.names
    assert not [name for name, _ in hostile.attributes if name.startswith("on")]
    assert visible(HOSTILE) in hostile.texts
    assert "\u202e" not in visible(HOSTILE) and "\\u202e" in visible(HOSTILE) and "\\x00" in visible(HOSTILE)


def test_the_policy_admits_exactly_the_style_and_the_script_of_the_page() -> None:
    page = render_template(HERE, "one.html", text="plain").decode()
    policy = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', page)
    assert policy
    for element in ("style", "script"):
        (text,) = re.findall(rf"<{element}>(.*?)</{element}>", page, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"{element}-src 'sha256-{digest}'" in policy[1].replace("&#39;", "'")
    assert "default-src 'none'" in policy[1] and "unsafe" not in policy[1]


def test_a_page_names_no_other_place() -> None:
    elements = _Elements(render_template(HERE, "one.html", text="plain"))
    for name, value in elements.attributes:
        if name in ("src", "href", "action", "srcset"):
            assert value and value.startswith(("#", "data:"))
    assert " style" not in [f" {name}" for name, _ in elements.attributes]  # the policy would refuse it


def test_what_a_template_lacks_is_an_error() -> None:
    with pytest.raises(UndefinedError):
        render_template(HERE, "one.html")


def test_half_a_character_does_not_stop_a_page() -> None:
    assert b"\\ud800" in render_template(HERE, "one.html", text="\ud800")


@given(st.text())
def test_what_is_visible_prints_and_stays(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable() and visible(shown) == shown
    if text.isprintable():
        assert shown == text


@pytest.mark.parametrize(
    ("count", "text"),
    [(0, "0 B"), (999, "999 B"), (1000, "1.0 kB"), (1_234_567, "1.2 MB"), (5e11, "500 GB"), (2e15, "2,000 TB")],
)
def test_bytes_as_people_say_them(count: float, text: str) -> None:
    assert byte_size(int(count)) == text


def test_shares_and_times_as_people_read_them() -> None:
    assert (share(0.1234), share(None)) == ("12.3 %", "–")
    assert moment("2026-11-23T03:31:43+00:00") == "2026-11-23 03:31:43 UTC"
