"""Converts a published run to the formats of other tools, as files on this machine."""

from __future__ import annotations

from jobs.convert.converter import FORMATS, convert

__all__ = ["FORMATS", "convert"]
