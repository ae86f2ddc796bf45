"""Reads what people said about a sample, and settles where they disagree.

Disagreement is never decided in favour of the detector: what has no majority is unclear, and unclear boxes count as
wrong in every lower limit and as right in every upper one.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.errors import UsageError
from jobs.formats import BoxVerdict, ImageVerdict, MissedObject, Sample, Verdicts, parse, sha256

# The URI of an image, and the place of the box in its record.
BoxName = tuple[str, int]
# What nobody could tell, and what nobody was asked, or has answered.
UNCLEAR, NOT_JUDGED = "cannot_tell", "not_judged"


@dataclass(frozen=True)
class Given:
    """A file of verdicts, and its SHA-256."""

    verdicts: Verdicts
    digest: str


@dataclass(frozen=True)
class Settled:
    """What people together say about a box. label: what the object is, where the label is wrong; None: none of the
    sample's labels; doubtful: they do not agree on that label."""

    verdict: str
    label: str | None = None
    doubtful: bool = False


@dataclass(frozen=True)
class Missed:
    """The objects that people miss in an image.

    least, most: by label, the numbers that all people are sure of, and that any of them thinks possible. objects: what
    they marked, when one person alone judged the image; else None, because two marks do not tell whether they mean
    the same object.
    """

    least: Counter[str]
    most: Counter[str]
    objects: list[MissedObject] | None


def read_verdicts(paths: Sequence[Path]) -> list[Given]:
    """The verdicts in these files; raises UsageError when a file is none, when they are about different samples, when
    two are by one person, or when a verdict is about something that the sample does not have."""
    given: list[Given] = []
    for path in paths:
        try:
            data = path.read_bytes()
        except OSError as error:
            raise UsageError(
                f"{path}: cannot be read: {error.strerror}; name a file that the page of the audit has saved"
            ) from error
        verdicts = parse(Verdicts, data, str(path), "a file of verdicts", "save it again on the page of the audit")
        for other, before in zip(paths, given, strict=False):
            if sha256(before.verdicts.sample.pretty()) != sha256(verdicts.sample.pretty()):
                raise UsageError(f"{path}: is about another sample than {other}; judge each sample by itself")
            if before.verdicts.reviewer == verdicts.reviewer:
                raise UsageError(
                    f"{path}: is by {verdicts.reviewer}, as {other} is; give the newest file of each person"
                )
        if (problem := next(_problems(verdicts), None)) is not None:
            raise UsageError(f"{path}: {problem}; save it again on the page of the audit")
        given.append(Given(verdicts, sha256(data)))
    return given


def _problems(verdicts: Verdicts) -> Iterator[str]:
    sample = verdicts.sample
    labels = set(sample.labels)
    wholes = {image.image for image in sample.images}
    drawn = {(box.image, box.number): box.box.label for box in sample.boxes}
    named = Counter((verdict.image, verdict.number) for verdict in verdicts.boxes)
    named.update((verdict.image, -1) for verdict in verdicts.images)
    for (image, _), count in named.items():
        if count > 1:
            yield f"judges something in {image} twice"
    for box in verdicts.boxes:
        if (box.image, box.number) not in drawn and box.image not in wholes:
            yield f"judges box {box.number} of {box.image}, which is not in the sample"
        if box.label is not None and (box.label not in labels or drawn.get((box.image, box.number)) == box.label):
            yield f"gives box {box.number} of {box.image} the label {box.label}, which cannot be"
    for verdict in verdicts.images:
        if verdict.image not in wholes:
            yield f"judges {verdict.image}, which is not in the sample"
        for missed in verdict.missed:
            if missed.label not in labels:
                yield f"marks an object in {verdict.image} with the label {missed.label}, which cannot be"


def answers(given: Sequence[Given]) -> dict[BoxName, list[BoxVerdict]]:
    """What the people who judged a box said, for each box."""
    found: dict[BoxName, list[BoxVerdict]] = defaultdict(list)
    for one in given:
        for verdict in one.verdicts.boxes:
            found[verdict.image, verdict.number].append(verdict)
    return found


def settle(said: Sequence[BoxVerdict]) -> Settled:
    """The verdict of more than half of the people who judged a box, else cannot_tell; so also for the label."""
    verdict = _majority([one.verdict for one in said]) or UNCLEAR
    if verdict != "wrong_label":
        return Settled(verdict)
    labels = [one.label for one in said if one.verdict == verdict]
    label, count = Counter(labels).most_common(1)[0]
    return Settled(verdict, label) if 2 * count > len(labels) else Settled(verdict, None, doubtful=True)


def _majority(values: Sequence[str]) -> str | None:
    value, count = Counter(values).most_common(1)[0]
    return value if 2 * count > len(values) else None


def missed_objects(sample: Sample, given: Sequence[Given]) -> dict[str, Missed]:
    """What was missed in each drawn image, by URI, without images that nobody judged, or of which at least half of
    those who did could not tell."""
    said: dict[str, list[ImageVerdict]] = defaultdict(list)
    for one in given:
        for verdict in one.verdicts.images:
            said[verdict.image].append(verdict)
    found = {}
    for image, verdicts in said.items():
        clear = [verdict for verdict in verdicts if not verdict.cannot_tell]
        if 2 * len(clear) <= len(verdicts):
            continue
        sure = [Counter(missed.label for missed in verdict.missed if missed.sure) for verdict in clear]
        possible = [Counter(missed.label for missed in verdict.missed) for verdict in clear]
        found[image] = Missed(
            Counter({label: min(counts[label] for counts in sure) for label in sample.labels}),
            Counter({label: max(counts[label] for counts in possible) for label in sample.labels}),
            clear[0].missed if len(verdicts) == 1 else None,
        )
    return found
