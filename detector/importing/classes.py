"""The names of a graph's classes: from a list, a file or the graph's own metadata, and renamed for the user."""

from __future__ import annotations

import ast
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from detector.common.errors import ArtifactError
from detector.data.classes import COCO_CLASSES, VOC_CLASSES

# The name of each output; None where a number stands for nothing.
Names = tuple[str | None, ...]

# COCO's categories are numbered 1 to 90 with gaps; some models score every number, and 0, which is none.
_GAPS = (0, 12, 26, 29, 30, 45, 66, 68, 69, 71, 83)
# COCO's names that VOC spells otherwise; the rest of VOC's names stand in both.
_COCO_VOC = {
    "airplane": "aeroplane", "motorcycle": "motorbike", "couch": "sofa", "potted plant": "pottedplant",
    "dining table": "diningtable", "tv": "tvmonitor",
}  # fmt: skip
# What lists call a number that stands for nothing.
_NOTHING = {"n/a", "__background__"}


def _with_gaps() -> Names:
    names = iter(COCO_CLASSES)
    return tuple(None if number in _GAPS else next(names) for number in range(91))


@dataclass(frozen=True)
class ClassList:
    """Names that a model may have. source: where they come from, for messages; variants: the lists that are meant,
    of which the graph's number of outputs chooses one."""

    source: str
    variants: tuple[Names, ...]

    def counts(self) -> set[int]:
        """Return the numbers of outputs for which there are names."""
        return {len(names) for names in self.variants}

    def names(self, count: int | None) -> Names:
        """Return the names of `count` outputs; None: of the list without gaps.

        Raises ArtifactError if there are more or fewer names.
        """
        for names in reversed(self.variants):
            if count in (None, len(names)):
                return names
        raise ArtifactError(
            f"the graph scores {count} classes, and {self.source} has {' or '.join(map(str, sorted(self.counts())))} "
            "names; give the list that the model was trained with: --classes FILE"
        )


def named_classes(name: str) -> ClassList:
    """Return the list that `--classes` names: coco, voc, or a file.

    A file has one name a line, or is a list or a map from number to name in JSON or YAML, or has such a value under
    `names` or `id2label`, as Ultralytics' data.yaml and Hugging Face's config.json. Names `N/A` and `__background__`
    stand for numbers without a class.
    Raises ArtifactError if the file cannot be read, or holds no names or one name twice.
    """
    if name == "coco":
        return ClassList("COCO's list", (_with_gaps(), _with_gaps()[1:], COCO_CLASSES))
    if name == "voc":
        return ClassList("VOC's list", (VOC_CLASSES,))
    path = Path(name)
    content = _read(path)
    if isinstance(content, dict):
        content = content.get("names", content.get("id2label", content))
    if isinstance(content, str):
        content = content.removesuffix("\n").splitlines()
    return ClassList(name, (_checked(name, content),))


def metadata_classes(metadata: Mapping[str, str]) -> ClassList | None:
    """Return the names that Ultralytics' tools write into the file; None if there are none.

    Raises ArtifactError if they cannot be read.
    """
    if "names" not in metadata:
        return None
    try:
        content = ast.literal_eval(metadata["names"])
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError) as error:
        raise ArtifactError(f"the names in the file's metadata cannot be read ({error}); give --classes") from error
    return ClassList("the file's metadata", (_checked("the file's metadata", content),))


def _checked(source: str, content: Any) -> Names:
    if isinstance(content, dict):
        numbers = {str(number): value for number, value in content.items()}
        try:
            content = [numbers[str(number)] for number in range(len(numbers))]
        except KeyError as error:
            raise ArtifactError(
                f"{source}: the numbers of {len(numbers)} classes must run from 0; {error} is missing"
            ) from error
    if not isinstance(content, list | tuple) or not content:
        raise ArtifactError(f"{source}: holds no list of names; write one name a line")
    for number, value in enumerate(content):
        if value is not None and not (isinstance(value, str) and value.strip() and value.isprintable()):
            raise ArtifactError(f"{source}: class {number} is {value!r}, not a name; write N/A where there is no class")
    names = tuple(None if value is None or value.strip().lower() in _NOTHING else value.strip() for value in content)
    twice = [name for name, count in Counter(names).items() if name is not None and count > 1]
    if twice:
        raise ArtifactError(f"{source}: lists {twice[0]!r} twice; labels must differ")
    if not any(names):
        raise ArtifactError(f"{source}: holds no names")
    return names


def _read(path: Path) -> Any:
    """Return the content of a JSON or YAML file, and the text of any other."""
    try:
        text = path.read_text("utf-8-sig")
        if path.suffix.lower() == ".json":
            return json.loads(text)
        if path.suffix.lower() in (".yaml", ".yml"):
            import yaml

            try:
                return yaml.safe_load(text)
            except yaml.YAMLError as error:
                raise ArtifactError(f"{path}: is not YAML: {error}") from error
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise ArtifactError(f"{path}: cannot be read: {reason}; --classes takes coco, voc or a file") from error
    return text


@dataclass(frozen=True)
class Labels:
    """The labels of a detector. classes: in their order; graph: the label of each output of the graph, None where it is
    dropped; dropped: names that have no label."""

    classes: tuple[str, ...]
    graph: Names
    dropped: tuple[str, ...] = ()

    @property
    def joined(self) -> bool:
        """Whether several outputs have one label."""
        return len(self.classes) < sum(name is not None for name in self.graph)


def labelled(names: Names, rename: str | None) -> Labels:
    """Return the labels of outputs with these names; rename: `coco-voc`, or a JSON or YAML file with a map.

    Names that a map does not have are dropped. Raises ArtifactError if a map has a name that is not one of these, or
    leaves none.
    """
    if rename is None:
        return Labels(tuple(name for name in names if name is not None), names)
    new = _coco_to_voc(names) if rename == "coco-voc" else _mapped(Path(rename), names)
    graph = tuple(None if name is None else new.get(name) for name in names)
    if not any(graph):
        raise ArtifactError(f"--rename {rename}: leaves no class; the model has {', '.join(filter(None, names))}")
    order: Sequence[str] = VOC_CLASSES if rename == "coco-voc" else [value for value in new.values() if value]
    classes = tuple(dict.fromkeys(name for name in order if name in graph))
    return Labels(classes, graph, tuple(name for name in names if name is not None and not new.get(name)))


def _coco_to_voc(names: Names) -> dict[str, str]:
    """Return VOC's name of each class that has one; spaces, hyphens and capitals do not matter."""

    def plain(name: str) -> str:
        return "".join(letter for letter in name.lower() if letter.isalnum())

    known = {plain(old): new for old, new in [*_COCO_VOC.items(), *zip(VOC_CLASSES, VOC_CLASSES, strict=True)]}
    return {name: known[plain(name)] for name in names if name is not None and plain(name) in known}


def _mapped(path: Path, names: Names) -> dict[str, str | None]:
    content = _read(path)
    if not isinstance(content, dict) or not all(
        isinstance(old, str) and (new is None or (isinstance(new, str) and new.strip())) for old, new in content.items()
    ):
        raise ArtifactError(
            f"--rename {path}: is no map from names to names; give coco-voc, or a .json or .yaml file such as "
            '{"car": "vehicle", "truck": "vehicle"}'
        )
    if unknown := sorted(set(content) - set(names)):
        raise ArtifactError(
            f"--rename {path}: renames {unknown[0]!r}, which the model does not have; its classes are "
            f"{', '.join(filter(None, names))}"
        )
    return {old: new.strip() if new else None for old, new in content.items()}
