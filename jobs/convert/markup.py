"""XML elements for the formats that are XML."""

from __future__ import annotations

import re
from xml.etree.ElementTree import Element, SubElement, indent, tostring

# Characters that XML 1.0 cannot hold in any form.
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def text(value: object) -> str:
    """The value as XML can hold it: a number in as few digits as are exact, a forbidden character as %XX."""
    if isinstance(value, float):
        return f"{value:.15g}"
    return _FORBIDDEN.sub(lambda match: f"%{ord(match[0]):02X}", str(value))


def add(parent: Element, tag: str, content: object = "", **attributes: object) -> Element:
    """Add an element with this text to `parent`."""
    made = SubElement(parent, tag, {name: text(value) for name, value in attributes.items()})
    made.text = text(content) or None
    return made


def encoded(root: Element, level: int = 0) -> bytes:
    """The element in indented UTF-8, with a line break at its end. level: how deep it lies in its document."""
    indent(root, level=level)
    return b"  " * level + tostring(root, encoding="unicode").rstrip().encode() + b"\n"
