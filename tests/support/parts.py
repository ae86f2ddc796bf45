"""An archive of VOC with a photograph whose person has a head and a hand, and another one without parts."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from PIL import Image


def write_parts(archive: Path, prefix: str = "", above: str = "VOC2007/") -> None:
    """Write the archive; the photographs are named PREFIXa and PREFIXb, and have 64 x 48 pixels."""
    picture = io.BytesIO()
    Image.new("RGB", (64, 48), "red").save(picture, "JPEG")
    parts = _box("part", "head", 1, 1, 9, 10) + _box("part", "hand", 60, 40, 66, 48) + _box("part", "tail", 1, 1, 2, 2)
    with tarfile.open(archive, "w") as members:
        for name, inside in {"a": parts, "b": ""}.items():
            size = "<size><width>64</width><height>48</height></size>"
            text = f"<annotation>{size}{_box('object', 'person', 1, 1, 64, 48, inside)}</annotation>".encode()
            files = {f"Annotations/{prefix}{name}.xml": text, f"JPEGImages/{prefix}{name}.jpg": picture.getvalue()}
            for path, content in files.items():
                member = tarfile.TarInfo(above + path)
                member.size = len(content)
                members.addfile(member, io.BytesIO(content))


def _box(tag: str, name: str, x1: int, y1: int, x2: int, y2: int, inside: str = "") -> str:
    corners = f"<xmin>{x1}</xmin><ymin>{y1}</ymin><xmax>{x2}</xmax><ymax>{y2}</ymax>"
    return f"<{tag}><name>{name}</name><bndbox>{corners}</bndbox>{inside}</{tag}>"
