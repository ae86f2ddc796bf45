"""Reads XML of annotation tools without trust."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from defusedxml import DefusedXmlException
from defusedxml import ElementTree as SafeElementTree

from detector.common.errors import AnnotationError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element


def read_xml(path: Path) -> Element:
    """Return the top element. Raises AnnotationError, which names the file: it is missing, it is not XML, or it
    declares entities, as XML bombs do."""
    try:
        root: Element = SafeElementTree.fromstring(path.read_bytes())
    except FileNotFoundError as error:
        raise AnnotationError(f"{path}: there is no such annotation") from error
    except DefusedXmlException as error:
        raise AnnotationError(f"{path}: refused, it declares entities or references: {error}") from error
    except (SafeElementTree.ParseError, LookupError, ValueError) as error:  # unknown encodings raise the last two
        raise AnnotationError(f"{path}: is not XML ({error})") from error
    return root


def as_number(text: str | None, where: str) -> float:
    """Return a finite number. Raises AnnotationError, which begins with `where`."""
    try:
        value = float(text) if text is not None else float("nan")
    except ValueError:
        value = float("nan")
    if not np.isfinite(value):
        raise AnnotationError(f"{where} must be a number, not {text!r}")
    return value
