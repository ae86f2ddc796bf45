"""Names of files for the keys of images, where a format has one label file for each image.

A file's name is its image's key if that is safe. Everything else is escaped, so that no name leaves its folder and no
two are the same.
"""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote

# What Windows allows in no name; % itself, so that escaping can be undone; what is not printable; spaces around a part,
# and dots at its end, which Windows drops: parts of dots alone, which name other folders, are among these.
_HOSTILE = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029"*:<>?\\|%]|^ +|[. ]+\Z')
_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,8})\Z")
# File systems allow 255 bytes for a part of a path; what is not said by the stem follows.
_PART_BYTES = 200


class Names:
    """Names the images of a run, whose keys come in the order of their UTF-8 bytes."""

    def __init__(self) -> None:
        # Stems that a later key may share, each a prefix of the next: of "a.jpg", as long as keys begin with "a.".
        # Memory does not grow with the run.
        self._open: list[str] = []

    def name(self, key: str) -> tuple[str, str]:
        """The name of an image without its extension, and the extension with its dot.

        The first is different for each key. A key without an extension, and one that differs from an earlier one by its
        extension alone, as a.png after a.jpg, get `%-` and the extension at the end of their name: a%-png.
        """
        found = _EXTENSION.search(key)
        stem, extension = (key, "") if found is None else (key[: found.start()], found[1])
        while self._open and not key.startswith(self._open[-1] + "."):
            self._open.pop()
        if extension and stem not in self._open:
            self._open.append(stem)
            return _escaped(stem), f".{extension}"
        return f"{_escaped(stem)}%-{extension}", extension and f".{extension}"


def _escaped(path: str) -> str:
    return "/".join(map(_escaped_part, path.split("/")))


def _escaped_part(part: str) -> str:
    """One part of a path with hostile characters as %XX. An empty part, of two slashes in a row or of one at the start,
    is `%`. A part that is too long ends with its digest."""
    safe = _HOSTILE.sub(lambda match: quote(match[0], safe="").replace(".", "%2E"), part) or "%"
    if len(safe.encode()) <= _PART_BYTES:
        return safe
    start = safe.encode()[: _PART_BYTES // 2].decode(errors="ignore")
    return f"{start}%-{hashlib.sha256(part.encode()).hexdigest()}"
