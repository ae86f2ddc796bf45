"""Templates to bytes: everything that is not a template of ours is escaped, and the browser is told to trust no more.

The page's policy allows the one style and the one script that are in it, by their digests, and pictures in `data:`
URIs. What slipped through the escaping could still neither run nor load nor send anything.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from detector.common.drawing import PALETTE

# Those of the project's other pictures, then more, so that twenty labels differ; they lie on photographs, within black.
COLOURS = (
    *PALETTE,
    "#FF6B6B", "#7BDFF2", "#B8F24A", "#C77DFF", "#FFB3C6", "#00C2A8",
    "#FFD166", "#9D4EDD", "#80ED99", "#F72585", "#4361EE", "#BC6C25",
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """The shared style or script: its text, and the digest by which the page's policy admits it."""

    text: Markup
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        found = hashlib.sha256(self.text.encode()).digest()
        object.__setattr__(self, "digest", f"'sha256-{base64.b64encode(found).decode()}'")


def render_template(package: str, template: str, **context: Any) -> bytes:
    """The page of a template that lies in `package`/templates and extends page.html; UTF-8.

    Texts in `context` may hold anything. A name that the template wants and the context lacks is an error.
    """
    environment = _environment(package)
    page = environment.get_template(template).render(style=_style(), script=_script(), **context)
    return page.encode("utf-8", "backslashreplace")


@cache
def _environment(package: str) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("detector.common.pages")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "visible": visible,
        "count": "{:,}".format,
        "share": share,
        "bytes": byte_size,
        "moment": moment,
    }
    return environment


@cache
def _style() -> Look:
    colours = "".join(f".c{number}{{--box:{colour}}}" for number, colour in enumerate(COLOURS))
    return Look(_trusted("page.css", colours))


@cache
def _script() -> Look:
    return Look(_trusted("page.js"))


def _trusted(name: str, more: str = "") -> Markup:
    """A file of ours, as it is: none holds what would close its element."""
    text = files("detector.common.pages").joinpath("templates", name).read_text("utf-8")
    return Markup(text + more)


def visible(text: str) -> str:
    """Characters that print nothing, or turn the direction of what follows, as their escapes."""
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def share(value: float | None) -> str:
    """0..1 as a percentage; a dash for nothing."""
    return "–" if value is None else f"{100 * value:.1f} %"


def moment(iso: str) -> str:
    """A time in UTC as ISO 8601 has it, as people read it."""
    return iso.replace("T", " ").replace("+00:00", " UTC")


def byte_size(count: int) -> str:
    """Bytes as people say them."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:,.0f} {unit}" if unit == "B" or size >= 100 else f"{size:,.1f} {unit}"


def colour_class(number: int) -> str:
    """The style's class for the label with this number: the same in every picture and on every page."""
    return f"c{number % len(COLOURS)}"
