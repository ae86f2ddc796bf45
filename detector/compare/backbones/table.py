"""The comparison as Markdown, and where it differs from the lecture."""

from __future__ import annotations

import statistics
from collections.abc import Sequence

from detector.compare.backbones.lecture import LECTURE, REASONS, text, within
from detector.compare.backbones.lecture import Row as LectureRow
from detector.compare.backbones.rows import Machine, Row

_NOTES = """\
- *Layers*: convolutions and fully connected layers on the longest way through. *Parameters*: of the whole classifier;
  in brackets with the auxiliary classifiers, which only training uses. Both are counted on the modules as built.
- *GMACs*: billions of multiply-adds of one forward pass at the input size, as torch's flop counter counts convolutions
  and matrix products. Canziani et al. (2016) count a multiplication and an addition as two operations: G-Ops = 2 x
  GMACs.
- *Top-1*: published for the very weights that the backbone uses, one model and one crop; sources below.
- *Latency*: median of {repeats} forward passes of one image, float32, {threads}, all networks taking turns.
  *Memory*: growth of a process of its own from before the network is built to its peak in one forward pass.
- Machine: {processor}, torch {torch}.
"""


def markdown(rows: Sequence[Row], machine: Machine) -> str:
    """The whole page."""
    threads = "1 thread" if machine.threads == 1 else f"{machine.threads} threads"
    notes = _NOTES.format(repeats=machine.repeats, threads=threads, processor=machine.processor, torch=machine.torch)
    parts = [_networks(rows), notes.rstrip(), "## Beside the lecture", _beside(rows), *_sections(rows)]
    return "# Backbones\n\n" + "\n\n".join(parts) + "\n"


def _networks(rows: Sequence[Row]) -> str:
    measured = any(row.measured_top1 is not None or row.not_measured for row in rows)
    head = ["network", "year", "input", "layers", "parameters, M", "GMACs", "top-1, %"]
    head += ["top-1 measured, %"] if measured else []
    head += ["top-1 per M", "latency, ms", "memory, MB"]
    lines = []
    for row in rows:
        cells = [row.title, str(row.year), str(row.size), str(row.count.layers), _parameters(row)]
        cells += [f"{row.count.operations / 2e9:.2f}", f"{row.published.top1:.1f}"]
        if measured:
            cells.append("–" if row.measured_top1 is None else f"{row.measured_top1:.1f}")
        cells += [f"{row.density:.2f}", f"{statistics.median(row.milliseconds):.0f}"]
        cells.append("–" if row.memory is None else f"{row.memory / 1e6:.0f}")
        lines.append(cells)
    return _table(head, lines)


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
    return _table(head, lines) + "\n\nOf several figures the order is that of the table above."


def _sections(rows: Sequence[Row]) -> list[str]:
    sections = [
        "## Where they differ",
        "\n".join(f"- {sentence}" for sentence in differences(rows)),
        "## Sources of top-1",
    ]
    sources = [f"- {row.title}: {row.published.weights}, <{row.published.url}>" for row in rows]
    sections.append("\n".join(sources))
    if missing := [f"- {row.title}: {row.not_measured}" for row in rows if row.not_measured]:
        sections += ["## Not measured", "\n".join(missing)]
    return sections


def differences(rows: Sequence[Row]) -> list[str]:
    """A sentence a network that the lecture's table covers, made from the numbers; then a family's reasons."""
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


def _table(head: Sequence[str], lines: Sequence[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in [head, ["---"] * len(head), *lines])
