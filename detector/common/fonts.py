"""Finds a font that has the characters of a text. Pillow's own has only those of ASCII."""

from __future__ import annotations

import unicodedata
from functools import cache
from importlib.util import find_spec
from pathlib import Path

from PIL import ImageFont

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
# Fonts that come with packages, by package: DejaVu has Latin, Greek, Cyrillic, Arabic and Hebrew letters; Noto Sans CJK
# has Chinese, Japanese and Korean ones.
_FILES = {
    "matplotlib": "mpl-data/fonts/ttf/DejaVuSans.ttf",
    "noto_cjk_sans_jp_regular": "NotoSansCJKjp-Regular.otf",
}
_NOT_A_CHARACTER = "\U0010ffff"  # every font shows its empty box for it


def fitting(text: str, size: int) -> tuple[str, Font]:
    """Return a text and the first installed font, `size` pixels high, that has all of its characters.

    Where no font has them all, those that the best font lacks become escapes such as \\u732b.
    """
    text = unicodedata.normalize("NFC", text)  # fonts have ö, but few can put two dots above an o
    lacking = {path: {letter for letter in text if not _has(path, letter)} for path in (None, *_installed())}
    path = min(lacking, key=lambda path: len(lacking[path]))
    return "".join(_escaped(letter) if letter in lacking[path] else letter for letter in text), _load(path, size)


@cache
def _installed() -> tuple[Path, ...]:
    """Return the font files of the packages that are installed; imports none of them."""
    specs = {package: find_spec(package) for package in _FILES}
    return tuple(Path(spec.origin).parent / _FILES[package] for package, spec in specs.items() if spec and spec.origin)


@cache
def _load(path: Path | None, size: int) -> Font:
    return ImageFont.truetype(path, size) if path else ImageFont.load_default(size)


@cache
def _has(path: Path | None, letter: str) -> bool:
    font = _load(path, 16)
    return bytes(font.getmask(letter)) != bytes(font.getmask(_NOT_A_CHARACTER))


def _escaped(letter: str) -> str:
    return letter.encode("ascii", "backslashreplace").decode()
