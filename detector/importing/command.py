"""The command `detector import`: from an ONNX file to an artifact, or to an error and nothing written."""

from __future__ import annotations

import hashlib
import re
import shutil
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from detector.common.drawing import draw_detections
from detector.common.errors import ArtifactError, ImageError
from detector.common.files import lies_in
from detector.importing.batch_axis import settled
from detector.importing.choose import choose
from detector.importing.classes import ClassList, Labels, Names, labelled, metadata_classes, named_classes
from detector.importing.graph_file import GraphFile, read_graph
from detector.importing.presets import PRESETS, Values
from detector.importing.recognise import Reading, outputs_text
from detector.importing.settings import assumptions, describe, parse_settings
from detector.importing.trial import Trial, stated_size, try_graph
from detector.runtime.artifact import DESCRIPTION_FILE, MODEL_FILE, Artifact, parse_artifact, save_artifact
from detector.runtime.detector import Image, open_detector, read_for
from detector.runtime.images import Pixels, decode_image
from detector.runtime.preprocess import MOST_SIDE

_MOST_NAMED = 5  # names of classes in a line
_SIDE = 640  # of an input whose size nothing tells
Say = Callable[[str], None]


@dataclass(frozen=True)
class Wishes:
    """The options of the command that say what the model is."""

    preset: str | None = None
    kind: str | None = None
    classes: str | None = None
    rename: str | None = None
    settings: Sequence[str] = ()
    name: str | None = None
    allow_external_data: bool = False
    batch: bool = False


@dataclass(frozen=True)
class Annotated:
    """A labelled set: COCO JSON, and the folder of its images; device: where the detector is measured on it."""

    annotations: Path
    images: Path
    device: str = "cpu"


def import_model(
    file: Path, out: Path, wishes: Wishes, annotated: Annotated | None, check: Path | None, workers: int, say: Say
) -> None:
    """Write the artifact `out` from an ONNX file, and print with `say` what was recognised and assumed.

    annotated: calibrates and measures on it, in `workers` threads; check: an image on which the detections are drawn,
    into `out`.check.png. `out` appears in one step. Raises ArtifactError, AnnotationError or ImageError; nothing is
    written then.
    """
    if not out.name or out.name == "..":
        raise ArtifactError(f"--out {out}: name a folder that may be replaced")
    drawn = out.with_name(f"{out.name}.check.png")
    _refuse_out(out, [file, *([annotated.annotations] if annotated else []), *([check] if check else [])])
    if check and check.resolve() == drawn.resolve():
        raise ArtifactError(f"{drawn} would be replaced by its own drawing: rename the image, or choose another --out")
    photo = _read_photo(check) if check else None
    graph = read_graph(file, allow_external_data=wishes.allow_external_data)
    with tempfile.TemporaryDirectory(prefix="boxcar-") as temporary:
        folder = Path(temporary)
        artifact = _describe(graph, folder, wishes, bool(annotated), say)
        save_artifact(artifact, folder)
        _try(folder)
        if annotated:
            from detector.importing.measuring import measure  # scikit-learn and COCO's evaluation

            artifact, first = measure(
                artifact, folder, annotated.annotations, annotated.images, workers, annotated.device, say
            )
            save_artifact(artifact, folder)
            photo = _read_photo(first) if photo is None else photo
        else:
            say(
                "not measured: scores stay as the graph gives them, and rules that compare with measured figures are "
                "not judged; measure with --annotations VAL.json --images FOLDER"
            )
        if photo is not None:
            data, pixels = photo
            detector = open_detector(folder)
            (found,) = detector.detect([read_for(detector, data)]).detections
            out.parent.mkdir(parents=True, exist_ok=True)
            draw_detections(pixels, found.boxes, found.labels, found.scores, artifact.classes).save(drawn)
            boxes = "1 box" if len(found.scores) == 1 else f"{len(found.scores)} boxes"
            say(f"drew {boxes} with a score of {artifact.operating_score:g} or more: look at {drawn}")
        _place(folder, out)
    say(f"written {out}: {MODEL_FILE} and {DESCRIPTION_FILE}; use it with `boxcar run INPUT OUTPUT --model {out}`")


def _read_photo(path: Path) -> tuple[bytes, Pixels]:
    """Return an image as it is encoded, and all its pixels."""
    data = path.read_bytes()
    try:
        return data, decode_image(data)
    except ImageError as error:
        raise ArtifactError(f"{path}: {error}; give another image") from error


def _refuse_out(out: Path, sources: Sequence[Path]) -> None:
    """Raise ArtifactError if the new artifact would replace anything but an artifact or an empty folder."""
    for source in sources:
        if lies_in(source, out):
            raise ArtifactError(f"{source} lies in {out}, which would be replaced: choose another --out")
    if out.is_symlink() or (out.exists() and not (out.is_dir() and _is_artifact_or_empty(out))):
        raise ArtifactError(f"{out}: exists and is not an artifact alone; choose another --out, or remove it yourself")


def _is_artifact_or_empty(folder: Path) -> bool:
    files = {path.name for path in folder.iterdir()}
    if files != {MODEL_FILE, DESCRIPTION_FILE}:
        return not files
    try:
        parse_artifact((folder / DESCRIPTION_FILE).read_bytes(), "")
    except ArtifactError:
        return False
    return True


def _describe(graph: GraphFile, folder: Path, wishes: Wishes, measured: bool, say: Say) -> Artifact:
    """Return the description of a graph, which is written to `folder`, and say how it came about.

    measured: whether annotated images will decide the operating score.
    """
    given = parse_settings(wishes.settings)
    if measured and "operating_score" in given:
        raise ArtifactError("--annotations choose the operating score: leave out --set operating_score")
    classes = named_classes(wishes.classes) if wishes.classes else metadata_classes(graph.metadata)
    _refuse_task(graph)
    if graph.takes_bytes and not {"mean", "std"} <= set(given["preprocessing"]):
        raise ArtifactError(
            f"{graph.path}: takes whole numbers, so that it normalises images by itself; if so, add "
            "--set preprocessing.mean=[0,0,0] --set preprocessing.std=[1,1,1]"
        )
    preset = PRESETS[wishes.preset] if wishes.preset else None
    trial, told = _tried(graph, folder, given, wishes.preset)
    say(f"read {graph.path}: {graph.producer or 'producer unknown'}; outputs {outputs_text(trial)}")
    if wishes.kind is None:
        reading = choose(trial, classes, given["decoding"])
        preset = PRESETS[reading.preset]
        kind = preset.kind
        say(f"recognised {reading.preset}, {preset.about}: {reading.because}")
    else:
        kind, reading = wishes.kind, Reading("", "", None)
    if classes is None:
        count = f" of its {reading.classes} classes" if reading.classes else ""
        raise ArtifactError(
            f"{graph.path}: does not tell the names{count}; give --classes: coco, voc, or a FILE of one name a line"
        )
    # torchvision numbers COCO's classes as COCO does, with gaps.
    names = classes.variants[0] if kind == "torchvision" else classes.names(reading.classes)
    labels = labelled(names, wishes.rename)
    _say_labels(labels, names, classes, reading, say)
    decided = reading.decoding
    if kind == "torchvision":
        decided = decided | {"first_label": _first_label(names)}
    _refuse_other_labels(trial, decided | given["decoding"], names)
    graph = settled(graph, trial.size, wishes.batch, say)
    (folder / MODEL_FILE).write_bytes(graph.data)
    height, width = trial.size if told or preset is None else preset.size
    size = (trial.stated[0] or height, trial.stated[1] or width)
    digest = hashlib.sha256(graph.data).hexdigest()
    name = wishes.name or graph.path.stem
    artifact = describe(name, kind, preset, decided, size, trial.fixed, labels, given, digest)
    for line in assumptions(artifact, preset, decided, trial.fixed or told, given):
        if not (measured and line.startswith("operating_score")):
            say(f"assumed {line}")
    return artifact


def _refuse_task(graph: GraphFile) -> None:
    task = graph.metadata.get("task", "detect")
    if "names" in graph.metadata and task != "detect":
        raise ArtifactError(f"{graph.path}: its metadata say that its task is {task}; only detect gives boxes")


def _tried(graph: GraphFile, folder: Path, given: Values, preset: str | None) -> tuple[Trial, bool]:
    """Return what the graph gives at the size that it states, and whether the user or its metadata tell this size."""
    stated = stated_size(graph)
    told = [given["preprocessing"].get(side) for side in ("height", "width")]
    if told == [None, None]:
        told = _metadata_size(graph)
    fallback = PRESETS[preset].size if preset else (_SIDE, _SIDE)
    height, width = (
        own or (side if isinstance(side, int) and 0 < side <= MOST_SIDE else other)
        for own, side, other in zip(stated, told, fallback, strict=True)
    )
    return try_graph(graph, preset, folder, stated, (height, width)), None not in told


def _metadata_size(graph: GraphFile) -> list[int | None]:
    """Return the height and width that Ultralytics' metadata name, as in "[640, 640]"; None where they do not."""
    found = re.fullmatch(r"\[(\d{1,4}), *(\d{1,4})\]", graph.metadata.get("imgsz", ""))
    return [int(found[1]), int(found[2])] if found else [None, None]


def _first_label(names: Names) -> int:
    """Return the number of the first name in torchvision's graphs, which count the background as 0."""
    return 0 if names[0] is None else 1


def _refuse_other_labels(trial: Trial, decoding: Values, names: Names) -> None:
    """Raise ArtifactError if a graph that gives labels gives one beyond the names, or below the first."""
    first = 0
    if "first_label" in decoding:
        labels = [value for value in trial.outputs.values() if value.dtype.kind in "iu"]
        first = int(decoding["first_label"])
    elif decoding.get("layout") == "end_to_end":
        labels = [value[..., 5] for value in trial.outputs.values() if value.ndim == 3]
    else:
        return
    last = len(names) - 1 + first
    if first and any((value == 0).any() for value in labels) and names[0] is not None:
        raise ArtifactError(
            f"{trial.graph.path}: gives the label 0, and labels are taken to begin at {first}, after the background; "
            "if 0 is the first class, add --set decoding.first_label=0"
        )
    largest = max(float(value.max(initial=0)) for value in labels)
    if largest > last:
        raise ArtifactError(
            f"{trial.graph.path}: gives the label {largest:g}, and the last of {len(names)} names is for label {last}; "
            "give the list that the model was trained with (--classes coco for COCO's own numbers)"
        )


def _say_labels(labels: Labels, names: Names, classes: ClassList, reading: Reading, say: Say) -> None:
    say(f"named {len(labels.classes)} classes from {classes.source}: {_some(labels.classes)}")
    if reading.classes is None:
        say(f"assumed {len(names)} classes, because the outputs do not say how many (change it with --classes)")
    if labels.dropped:
        count = len(labels.dropped)
        say(f"dropped {count} of {len(names)} classes, which have no new name: {_some(labels.dropped)}")


def _some(names: Sequence[str]) -> str:
    """Return the first few names, and the number of the others."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} others" if more > 0 else "")


def _try(folder: Path) -> None:
    """Run the detector as it will be used; raises ArtifactError if graph and description do not fit."""
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    open_detector(folder).detect([Image.whole(noise)])


def _place(folder: Path, out: Path) -> None:
    """Put the finished artifact where it belongs: an earlier one stays until the new one is complete beside it."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent, ignore_cleanup_errors=True) as beside:
        new, old = Path(beside, "new"), Path(beside, "old")
        new.mkdir()
        for name in (MODEL_FILE, DESCRIPTION_FILE):
            shutil.copyfile(folder / name, new / name)
        if out.exists():
            out.rename(old)
        new.rename(out)
