"""Writes the comparison as Markdown, and states where it differs from the lecture."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from detector.common.tables import markdown_table
from detector.compare.backbones.lecture import LECTURE, REASONS, text, within
from detector.compare.backbones.lecture import Row as LectureRow
from detector.compare.backbones.rows import Machine, Row

_NOTES = """\
- *Layers* are the convolutions and fully connected layers on the longest path. *Parameters* are those of the whole
  classifier; the number in brackets includes the auxiliary classifiers, which only training uses. Both are counted on
  the real modules.
- *GMACs* are billions of multiply-adds of one forward pass at the input size; torch's flop counter counts those of
  convolutions and matrix products. Canziani et al. (2016) count a multiplication and an addition as two operations:
  G-Ops = 2 x GMACs.
- *Top-1* was published for the weights that the backbone uses, with one model and one crop; the sources are below.
- *Latency* is the median of {repeats} forward passes of one image, in float32 with {threads}; all networks take turns.
  *Memory* is how much a new process grows from before the network is built to its peak in one forward pass.
- The machine has {processor}, with torch {torch}.
"""


def markdown(rows: Sequence[Row], machine: Machine) -> str:
    """Return the whole page."""
    threads = "1 thread" if machine.threads == 1 else f"{machine.threads} threads"
    notes = _NOTES.format(repeats=machine.repeats, threads=threads, processor=machine.processor, torch=machine.torch)
    parts = [_networks(rows), notes.rstrip(), "## Beside the lecture", _beside(rows), *_sections(rows)]
    return "# Backbones\n\n" + "\n\n".join(parts) + "\n"


def _networks(rows: Sequence[Row]) -> str:
    measured = any(row.measured_top1 is not None or row.not_measured for row in rows)
    columns = {
        "network": [row.title for row in rows],
        "year": [str(row.year) for row in rows],
        "input": [str(row.size) for row in rows],
        "layers": [str(row.count.layers) for row in rows],
        "parameters, M": [_parameters(row) for row in rows],
        "GMACs": [f"{row.count.operations / 2e9:.2f}" for row in rows],
        "top-1, %": [f"{row.published.top1:.1f}" for row in rows],
        "top-1 measured, %": ["–" if row.measured_top1 is None else f"{row.measured_top1:.1f}" for row in rows],
        "top-1 per M": [f"{row.density:.2f}" for row in rows],
        "latency, ms": [f"{statistics.median(row.milliseconds):.0f}" for row in rows],
        "memory, MB": ["–" if row.memory is None else f"{row.memory / 1e6:.0f}" for row in rows],
    }
    if not measured:
        del columns["top-1 measured, %"]
    return markdown_table(list(columns), list(zip(*columns.values(), strict=True)))


def _parameters(row: Row) -> str:
    auxiliary = row.count.auxiliary
    return f"{row.millions:.1f}" + (f" ({(row.count.parameters + auxiliary) / 1e6:.1f})" if auxiliary else "")


def _beside(rows: Sequence[Row]) -> str:
    head = [
        "family",
        "year",
        "idea",
        "authors",
        "layers",
        "counted",
        "parameters, M",
        "counted",
        "top-1, %",
        "published",
    ]
    lines = []
    for lecture in LECTURE:
        own = [row for row in rows if row.family == lecture.family]
        lines.append([
            lecture.family, str(lecture.year), lecture.idea, lecture.authors,
            text(lecture.layers), ", ".join(str(row.count.layers) for row in own),
            text(lecture.parameters), ", ".join(f"{row.millions:.1f}" for row in own),
            str(lecture.top1), ", ".join(f"{row.published.top1:.1f}" for row in own),
        ])  # fmt: skip
    return markdown_table(head, lines) + "\n\nSeveral figures are in the order of the table above."


def _sections(rows: Sequence[Row]) -> list[str]:
    sections = {
        "Where they differ": [f"- {sentence}" for sentence in differences(rows)],
        "Sources of top-1": [f"- {row.title}: {row.published.weights}, <{row.published.url}>" for row in rows],
        "Not measured": [f"- {row.title}: {row.not_measured}" for row in rows if row.not_measured],
    }
    return [f"## {title}\n\n" + "\n".join(lines) for title, lines in sections.items() if lines]


def differences(rows: Sequence[Row]) -> list[str]:
    """Return a sentence for each network in the lecture's table, and after each family one with the reasons."""
    sentences = []
    for lecture in LECTURE:
        own = [row for row in rows if row.family == lecture.family]
        for row in own:
            found = _compare(row, lecture)
            reason = f" {REASONS[row.name]}" if found and row.name in REASONS else ""
            sentences.append(f"{row.title}: {'; '.join(found) if found else 'as the lecture says'}.{reason}")
        if own:
            sentences.append(f"*{lecture.family}*: {REASONS[lecture.family]}")
    return sentences


def _compare(row: Row, lecture: LectureRow) -> list[str]:
    found = []
    if not within(row.count.layers, lecture.layers):
        found.append(f"{row.count.layers} layers, lecture {text(lecture.layers)}")
    if not within(row.millions, lecture.parameters):
        found.append(f"{row.millions:.1f} M parameters, lecture {text(lecture.parameters)} M")
    if not within(row.published.top1, (lecture.top1, lecture.top1)):
        gap = row.published.top1 - float(lecture.top1)
        word = "more" if gap > 0 else "less"
        found.append(f"top-1 {row.published.top1:.1f} %, {abs(gap):.1f} {word} than the lecture's {lecture.top1} %")
    return found
