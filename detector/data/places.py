"""Opens the folders and archives that sources name, and lets errors name the archive."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from detector.common.errors import AnnotationError, ArchiveError
from detector.common.file_names import escaped
from detector.data.archives import fetch_archive, unpack
from detector.data.settings import FileSource

# What cameras and annotation tools write; the reader of images decides what can be decoded.
IMAGE_SUFFIXES = frozenset({
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".dib", ".webp", ".tif", ".tiff", ".gif", ".avif", ".heic",
    ".heif", ".ppm", ".pgm", ".jp2",
})  # fmt: skip


class Places:
    """What one `fetch` has opened; `scratch` is an empty folder for what is unpacked or drawn."""

    def __init__(self, scratch: Path) -> None:
        """Open nothing yet."""
        self.scratch = scratch
        self._unpacked: dict[str, Path] = {}

    def archive(self, url: str, checksum: str, cache: str) -> Path:
        """Return the folder of an archive, which is unpacked once. Raises ArchiveError."""
        if url not in self._unpacked:
            local = fetch_archive(url, checksum, Path(cache))
            # Separate folders: two archives may have files with the same name.
            folder = self.scratch / f"{len(self._unpacked):04d}"
            unpack(local, folder)
            self._unpacked[url] = folder
        return self._unpacked[url]

    def roots(self, source: FileSource) -> list[Path]:
        """Return the folders of a source, or its one file. Raises ArchiveError or AnnotationError."""
        if source.data is None:
            return [self.archive(archive.url, archive.checksum, source.cache) for archive in source.archives]
        if not Path(source.data).exists():
            raise AnnotationError(f"{source.data}: there is no such folder or file")
        return [Path(source.data)]

    def folder(self, name: str, checksum: str | None, cache: str, key: str) -> Path:
        """Return a folder, or that of an archive with a checksum. Raises ArchiveError, which names the setting."""
        if Path(name).is_dir():
            return Path(name)
        if checksum is None:
            raise ArchiveError(f"{name}: is no folder; if it is an archive, state its checksum ({key})")
        return self.archive(name, checksum, cache)

    @contextlib.contextmanager
    def named(self) -> Iterator[None]:
        """Let errors about files that were unpacked name the archive: the folder is gone when a user looks for it."""
        try:
            yield
        except AnnotationError as error:
            text = str(error)
            for archive, folder in self._unpacked.items():
                text = text.replace(f"{folder}/", f"{archive}: ").replace(str(folder), archive)
            raise AnnotationError(text) from error


def image_file(folder: Path, name: str | PurePosixPath) -> Path:
    """Return the path of an image below a folder. Where no file has its name, it is that of a copy by `boxcar sample`,
    which has characters as %XX that are not allowed in every file system."""
    path = folder / name
    return path if path.is_file() else folder / escaped(str(name))


def images_below(folder: Path) -> list[Path]:
    """Return the image files below a folder, by their extension, sorted."""
    return [path for path in shown(folder, "**/*") if path.suffix.lower() in IMAGE_SUFFIXES]


def shown(folder: Path, pattern: str) -> list[Path]:
    """Return the files in a folder that match, sorted; those that begin with a dot, or lie in such a folder, are none.

    macOS writes such files beside others, as in ._1.xml.
    """
    return sorted(
        path
        for path in folder.glob(pattern)
        if not any(part.startswith(".") for part in path.relative_to(folder).parts) and path.is_file()
    )
