"""Names of files for the keys of images, where a format has one label file for each image.

A file's name is its image's key if that is safe. Everything else is escaped, so that no name leaves its folder and no
two are the same.
"""

from __future__ import annotations

import re

from detector.common.file_names import escaped

_EXTENSION = re.compile(r"\.([A-Za-z0-9]{1,8})\Z")


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
            return escaped(stem), f".{extension}"
        return f"{escaped(stem)}%-{extension}", extension and f".{extension}"
