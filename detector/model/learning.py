"""Trains a network on a dataset and its proposals; this module imports everything that decides the weights."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from detector.data.annotations import load_coco
from detector.model.device import choose_device, make_deterministic
from detector.model.distributed import World, join, local_device
from detector.model.network import DetectionNetwork
from detector.model.precision import Precision
from detector.model.start import begin
from detector.model.training import EpochReport, train
from detector.model.training_images import TrainingImages
from detector.model.validation import Validate, validation
from detector.params import ModelSettings, TrainSettings
from detector.proposals.store import load_proposals


@dataclass(frozen=True)
class Lesson:
    """The description of one training, which each of its processes gets.

    checkpoint: a file or an s3:// URI for the state after each epoch; identity: a digest of everything that decides the
    weights. scratch: a folder for expensive intermediate results. start: the weights of an earlier detector, or None if
    `model.start_from` names none.
    """

    model: ModelSettings
    settings: TrainSettings
    precision: Precision
    dataset: Path
    proposals: Path
    checkpoint: str
    identity: str
    scratch: Path
    start: Path | None = None


def learn(
    lesson: Lesson,
    report: Callable[[EpochReport], None],
    finish: Callable[[DetectionNetwork, dict[str, float]], None],
) -> None:
    """Train in this process, together with the others of the same training if there are any.

    Only the first process calls `report`, after every epoch, and `finish`, with the trained network in evaluation mode
    and the figures of its `fit`.
    """
    settings = lesson.settings
    device = local_device(choose_device(settings.device))
    make_deterministic(settings.seed)
    truth = load_coco(lesson.dataset / "train.json")
    stored = load_proposals(lesson.proposals / "train.npz", len(truth.images))
    images = lesson.dataset / "images"
    begun = begin(lesson.model, truth.classes, lesson.start)
    network = begun.network
    world: World
    with join(device) as world:
        trained = train(
            network,
            images,
            truth,
            stored,
            settings,
            device=device,
            precision=lesson.precision,
            checkpoint=lesson.checkpoint,
            identity=lesson.identity,
            report=report,
            validate=_validation(lesson, network) if world.first else None,
            kept=begun.parameters,
            world=world,
        ).eval()
        if not world.first:
            return
        upright = TrainingImages(images, truth, stored, settings.proposals, settings.seed)
        features = lesson.scratch / f"{lesson.identity[:12]}.features"
        finish(trained, trained.fit(upright, settings, features))
        shutil.rmtree(features, ignore_errors=True)


def _validation(lesson: Lesson, network: DetectionNetwork) -> Validate | None:
    """Return what measures the network on val; None if val has no boxes, or nothing is found before a fit."""
    truth = load_coco(lesson.dataset / "val.json")
    if network.needs_fit or all((image.ignore | image.crowd).all() for image in truth.images):
        return None
    stored = load_proposals(lesson.proposals / "val.npz", len(truth.images))
    return validation(lesson.dataset / "images", truth, stored, lesson.model.image_size)
