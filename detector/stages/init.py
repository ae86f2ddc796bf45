"""Command `init`: makes the working directory a project that trains a detector on the user's own data."""

from __future__ import annotations

import math
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
import yaml

from detector.common.errors import AnnotationError, ImageError, ParamsError
from detector.data.annotations import ImageInfo
from detector.data.formats import READERS, RECOGNISERS
from detector.data.frames import FrameRules
from detector.data.places import Places
from detector.data.settings import SPLITS, FetchSettings, SourceSettings, SplitSettings
from detector.data.stated import Stated
from detector.runtime.images import frame_size
from detector.stages.layout import PARAMS, PIPELINE, SIDES

# DVC reads every file named dvc.yaml, so that the template must have another name.
_TEMPLATES = Path(__file__).with_name("project")
_IGNORED = {
    ".gitignore": ["/build/", "/models/", "/data/archives/", "/dvc_plots/", "/.venv/", "__pycache__/"],
    ".dvcignore": ["/.venv/", "__pycache__/"],
}
# Smaller objects cover less than two cells of the finest map, whose stride is 8, and are found rarely.
_SMALLEST = 16
_LEAST_SIDE, _MOST_SIDE, _STEP = 256, 640, 32
# Steps that bring a pre-trained backbone most of its way on small data. An hour of the processor is another bound.
_STEPS = 1000
_EPOCHS = (8, 60)
_HOUR = 3600.0


@dataclass(frozen=True)
class Start:
    """The first weights of a training: the backbone that has such weights, and the rates that suit them.

    seconds: of a core (AMD EPYC with AVX2 only) for a training image of 384 pixels, without the measurements on val.
    """

    start_from: str
    backbone: str
    learning_rate: float
    frozen_blocks: int
    seconds: float


# docs/benchmarks.md#fine-tuning compares them.
STARTS = {
    start.start_from: start
    for start in (
        Start("voc20", "yolox_nano", learning_rate=0.002, frozen_blocks=0, seconds=0.22),
        Start("imagenet", "efficientnet_lite0", learning_rate=0.001, frozen_blocks=2, seconds=0.36),
    )
}


@dataclass(frozen=True)
class Suggestion:
    """Settings that suit the data, and the reasons for a reader of params.yaml."""

    image_size: int
    image_size_reason: str
    epochs: int
    epochs_reason: str
    batch_size: int
    average: float


def init(data: Path, start: Start, cores: int, say: Callable[[str], None]) -> None:
    """Write params.yaml, dvc.yaml and what git and DVC ignore into the working directory, and set up git and DVC.

    Raises ParamsError if a file is there already, `data` contains the project, or DVC cannot be set up, and
    AnnotationError if the format is not recognised or as its reader does. Then nothing was written.
    """
    for path in (PARAMS, PIPELINE, SIDES):
        if path.exists():
            raise ParamsError(f"{path} is there already: `detector init` overwrites nothing; use an empty folder")
    if Path.cwd().is_relative_to(data.resolve() if data.is_dir() else data.resolve().parent):
        raise ParamsError(f"{data}: its folder contains the project: put the data into one of its own, such as data/")
    place = data.resolve()
    place = place.relative_to(Path.cwd()) if place.is_relative_to(Path.cwd()) else place
    content, source, stated = recognise(place)
    images = [(image, part.files[image.file_name]) for part in stated.values() for image in part.dataset.images]
    classes = list(dict.fromkeys(name for part in stated.values() for name in part.dataset.classes))
    division = source.division(stated)
    share = sum(getattr(division, name) for name in ("val", "test") if name not in stated) if division else 0.0
    training = round(len(stated["train"].dataset.images) * (1 - share))
    suggested = suggest(list(relative_sizes(images)), median_side(images), training, start.seconds, cores)
    summary = f"{len(images):,} images of {place} (format {source.format}), {len(classes)} classes"
    _set_up()
    dump = yaml.safe_dump([content], sort_keys=False, allow_unicode=True, width=1000)
    _write(source, params_text(start, suggested, classes, summary, dump), with_sides=division is not None)
    _first_commit()
    say(f"recognised {summary}: {', '.join(classes[:8])}{', ...' if len(classes) > 8 else ''}")
    for name, part in stated.items():
        for note, count in part.notes.items():
            say(f"notice: {name}: {note.format(f'{count:,}')}")
    say(f"images of {suggested.image_size} pixels, {suggested.epochs} epochs, batches of {suggested.batch_size}")
    say("wrote params.yaml and dvc.yaml; look at them, then run: dvc repro")


def recognise(data: Path) -> tuple[dict[str, Any], SourceSettings, dict[str, Stated]]:
    """Return the settings of the source, as YAML and as a model, and what it states; val and test can be had."""
    for name, recogniser in RECOGNISERS.items():
        if (found := recogniser(data)) is not None:
            content = {"format": name} | found
            break
    else:
        raise AnnotationError(
            f"{data}: no format is recognised: it must hold annotations of {', '.join(sorted(RECOGNISERS))}; "
            "docs/own-data.md says which files each has"
        )
    source = _model(content)
    stated = READERS[source.format](source, Places(Path()), 1, FrameRules())
    if "train" not in stated:
        raise AnnotationError(f"{data}: has no images for the split train, only {', '.join(stated)}")
    lacking = [name for name in SPLITS if name not in stated]
    if lacking:
        default = SplitSettings()
        content["split"] = {name: getattr(default, name) for name in lacking}
    return content, _model(content), stated


def _model(content: dict[str, Any]) -> SourceSettings:
    return FetchSettings.model_validate({"sources": [content]}).sources[0]


def _size(image: ImageInfo, path: Path) -> tuple[int, int]:
    if image.width and image.height:
        return image.height, image.width
    try:
        return frame_size(path.read_bytes())
    except (ImageError, OSError) as error:
        raise AnnotationError(f"{path}: the image cannot be read: {error}") from error


def relative_sizes(images: list[tuple[ImageInfo, Path]]) -> Iterator[float]:
    """Yield the side of a square of each object's area, as a part of its image's longer side."""
    for image, path in images:
        if len(image.boxes):
            sides = np.maximum(image.boxes[:, 2:] - image.boxes[:, :2], 0)
            yield from (np.sqrt(sides.prod(axis=1)) / max(_size(image, path))).tolist()


def median_side(images: list[tuple[ImageInfo, Path]]) -> int:
    """Return the median of the longer sides, in pixels."""
    # A few hundred tell; files whose annotation states no size would all have to be opened.
    return int(np.median([max(_size(image, path)) for image, path in images[:300]]))


def suggest(sizes: list[float], side: int, training: int, seconds: float, cores: int) -> Suggestion:
    """Return settings for objects of relative `sizes`, images of `side` pixels, a number of training images, and a
    network whose training takes these `seconds` of a core for an image of 384 pixels."""
    small = float(np.quantile([size for size in sizes if size > 0] or [1.0], 0.1))
    wanted = _SMALLEST / small
    bound = max(_LEAST_SIDE, min(_MOST_SIDE, side))
    image_size = min(_STEP * math.ceil(max(wanted, _LEAST_SIDE) / _STEP), _STEP * (bound // _STEP))
    reason = f"nine in ten objects then measure at least {small * image_size:.0f} pixels"
    if wanted > image_size:
        reason += f"; {_STEP * math.ceil(wanted / _STEP)} would show small ones better, if the images have as many"
    batch_size = 8 if training >= 64 else 4 if training >= 16 else 2
    affordable = _HOUR * cores / (seconds * (image_size / 384) ** 2 * max(1, training))
    least, most = _EPOCHS
    epochs = min(most, max(least, math.ceil(_STEPS * batch_size / max(1, training))))
    epochs = max(4, min(epochs, int(affordable)))
    minutes = epochs * training * seconds * (image_size / 384) ** 2 / cores / 60
    told = f"{training:,} training images; about {max(1, round(minutes))} min on {cores} core(s), guessed"
    # The moving average must forget the first steps long before the last.
    average = 0.999 if epochs * math.ceil(training / batch_size) >= 10_000 else 0.99
    return Suggestion(image_size, reason, epochs, told, batch_size, average)


def params_text(start: Start, suggested: Suggestion, classes: list[str], summary: str, sources: str) -> str:
    """Return the text of params.yaml. summary: the first comment; sources: `fetch.sources` in YAML."""
    side = suggested.image_size
    return Template((_TEMPLATES / "params.yaml").read_text("utf-8")).substitute(
        vars(start) | vars(suggested),
        summary=summary,
        sources=_indented(sources, 4),
        classes=yaml.safe_dump(classes, default_flow_style=True, allow_unicode=True, width=100_000).strip(),
        image_sizes=[side - _STEP, side, side + _STEP],
    )


def _write(source: SourceSettings, params: str, with_sides: bool) -> None:
    deps = yaml.safe_dump(list(dict.fromkeys(source.dependencies())), allow_unicode=True, width=1000)
    sides = f"- {SIDES}: {{cache: false, persist: true}} # git tracks it; an edited line runs the stage again"
    pipeline = Template((_TEMPLATES / "pipeline.yaml").read_text("utf-8")).substitute(
        data=_indented(deps, 6), sides=_indented(sides if with_sides else "", 6)
    )
    PARAMS.write_text(params, "utf-8")
    PIPELINE.write_text("\n".join(line for line in pipeline.split("\n") if line.strip() or not line), "utf-8")


def _indented(text: str, by: int) -> str:
    return "\n".join(" " * by + line for line in text.strip().split("\n"))


def _set_up() -> None:
    """Make the folder a repository of git, if git is installed, and of DVC. Raises ParamsError if DVC refuses it."""
    before = set(Path().iterdir())
    scm = ["--no-scm"]
    if shutil.which("git") is not None:
        if not _git("rev-parse", "--show-toplevel"):
            _git("init", "--quiet")
        scm = [] if Path(_git("rev-parse", "--show-toplevel")).resolve() == Path.cwd() else ["--subdir"]
    if Path(".dvc").is_dir():
        return
    done = subprocess.run([sys.executable, "-m", "dvc", "init", *scm], capture_output=True, text=True)
    if done.returncode:
        for name in (".dvc", ".git"):
            if Path(name) not in before:
                shutil.rmtree(name, ignore_errors=True)
        if Path(".dvcignore") not in before:
            Path(".dvcignore").unlink(missing_ok=True)
        said = " ".join(done.stderr.rpartition("ERROR: ")[2].split()) or f"exit code {done.returncode}"
        raise ParamsError(f"{Path.cwd()}: `dvc init` failed, and nothing was written: {said}")


def _first_commit() -> None:
    """Add lines to what git and DVC ignore, and make the first commit if git has none."""
    for name, lines in _IGNORED.items():
        path = Path(name)
        before = path.read_text("utf-8") if path.exists() else ""
        new = [line for line in lines if line not in before.splitlines()]
        path.write_text(before + "".join(f"{line}\n" for line in new), "utf-8")
    if shutil.which("git") is not None and not _git("rev-parse", "--verify", "--quiet", "HEAD"):
        # DVC's log and its experiments need a commit to compare with.
        made = [str(PARAMS), str(PIPELINE), *_IGNORED, ".dvc/config", ".dvc/.gitignore"]
        identity = (
            [] if _git("config", "user.email") else ["-c", "user.name=boxcar", "-c", "user.email=boxcar@localhost"]
        )
        _git("add", *made)
        _git(*identity, "commit", "--quiet", "--message", "A Boxcar project", "--", *made)


def _git(*words: str) -> str:
    """Return what a git command prints; nothing if it fails."""
    return subprocess.run(["git", *words], capture_output=True, text=True).stdout.strip()
