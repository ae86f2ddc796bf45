"""Makes paths that every file system takes of the keys of images, which may hold any character."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import quote

# What Windows allows in no name; % itself, so that escaping can be undone; what is not printable; spaces around a part,
# and dots at its end, which Windows drops: parts of dots alone, which name other folders, are among these.
_HOSTILE = re.compile(r'[\x00-\x1f\x7f-\x9f\u2028\u2029"*:<>?\\|%]|^ +|[. ]+\Z')
# File systems allow 255 bytes for a part of a path; what is not said by the stem follows.
_PART_BYTES = 200


def escaped(path: str) -> str:
    """Return the path with hostile characters as %XX, so that it leaves no folder and no two are the same.

    An empty part, of two slashes in a row or of one at the start, is `%`. A part that is too long ends with its digest.
    """
    return "/".join(map(_escaped_part, path.split("/")))


def _escaped_part(part: str) -> str:
    safe = _HOSTILE.sub(lambda match: quote(match[0], safe="").replace(".", "%2E"), part) or "%"
    if len(safe.encode()) <= _PART_BYTES:
        return safe
    start = safe.encode()[: _PART_BYTES // 2].decode(errors="ignore")
    return f"{start}%-{hashlib.sha256(part.encode()).hexdigest()}"
