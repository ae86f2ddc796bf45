"""Renders templates as pages. Every text is escaped, except the templates themselves.

The page's content security policy allows the one style and the one script that are in it, by their digests, and images
in `data:` URIs. If a text escaped the escaping, it could still not run, load or send anything.
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
from detector.common.text import visible

_PACKAGE = "detector.common.pages"
# The colours of all other drawings, then more, so that twenty labels differ. Boxes are drawn on photographs, with a
# black outline.
COLOURS = (
    *PALETTE,
    "#FF6B6B", "#7BDFF2", "#B8F24A", "#C77DFF", "#FFB3C6", "#00C2A8",
    "#FFD166", "#9D4EDD", "#80ED99", "#F72585", "#4361EE", "#BC6C25",
)  # fmt: skip


@dataclass(frozen=True)
class Look:
    """The shared style or script: its text, and the digest by which the page's policy allows it."""

    text: Markup
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        found = hashlib.sha256(self.text.encode()).digest()
        object.__setattr__(self, "digest", f"'sha256-{base64.b64encode(found).decode()}'")


def render_template(package: str, template: str, *, own: str | None = None, **context: Any) -> bytes:
    """Return the page of a template in `package`/templates, which extends page.html, in UTF-8.

    own: the name of a style and a script beside the template, OWN.css and OWN.js: the style comes after the shared one,
    the script takes the place of the shared one. Texts in `context` may contain anything. It is an error if the context
    lacks a name that the template uses.
    """
    environment = _environment(package)
    style, script = _look(package, own)
    page = environment.get_template(template).render(style=style, script=script, **context)
    return page.encode("utf-8", "backslashreplace")


@cache
def _environment(package: str) -> Environment:
    environment = Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader(_PACKAGE)]),
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
def _look(package: str, own: str | None) -> tuple[Look, Look]:
    """Return the style and the script of a page."""
    style = _trusted(_PACKAGE, "page.css")
    style += Markup("".join(f".c{number}{{--box:{colour}}}" for number, colour in enumerate(COLOURS)))
    if own is None:
        return Look(style), Look(_trusted(_PACKAGE, "page.js"))
    return Look(style + _trusted(package, f"{own}.css")), Look(_trusted(package, f"{own}.js"))


def _trusted(package: str, name: str) -> Markup:
    """Return one of our own files without escaping; none contains text that would close its element."""
    return Markup(files(package).joinpath("templates", name).read_text("utf-8"))


def share(value: float | None) -> str:
    """Return a share 0..1 as a percentage, or a dash for None."""
    return "–" if value is None else f"{100 * value:.1f} %"


def moment(iso: str) -> str:
    """Return a time in UTC, given as ISO 8601, in a form that is easy to read."""
    return iso.replace("T", " ").replace("+00:00", " UTC")


def byte_size(count: int) -> str:
    """Return a number of bytes in B, kB, MB, GB or TB."""
    size, unit = float(count), "B"
    for larger in ("kB", "MB", "GB", "TB"):
        if size < 1000:
            break
        size, unit = size / 1000, larger
    return f"{size:,.0f} {unit}" if unit == "B" or size >= 100 else f"{size:,.1f} {unit}"


def colour_class(number: int) -> str:
    """Return the CSS class of the label with this number, which is the same in every image and on every page."""
    return f"c{number % len(COLOURS)}"
