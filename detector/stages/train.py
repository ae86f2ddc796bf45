"""Stage `train`: the network's weights from the training split."""

from __future__ import annotations

import hashlib
import shutil
from functools import partial
from importlib.metadata import version
from pathlib import Path

import click
from dvclive.live import Live

import detector
from detector.common.digests import sha256_of
from detector.data.annotations import load_coco
from detector.model.device import choose_device, make_deterministic
from detector.model.distributed import World, join, local_device
from detector.model.family import build
from detector.model.trained import save_trained
from detector.model.training import EpochReport, train
from detector.model.training_images import TrainingImages
from detector.params import ModelSettings, TrainSettings
from detector.proposals.store import load_proposals
from detector.stages.metrics_file import write_json

WEIGHTS_FILE = "weights.pt"


def _identity(model: ModelSettings, settings: TrainSettings, world: World, *files: Path) -> str:
    """Digest of all that decides the result: only a training with the same one may be resumed."""
    parts = [model.model_dump_json(), settings.model_dump_json(), version("torch"), version("torchvision")]
    parts.append(str(world.size))
    code = sorted(Path(detector.__path__[0]).rglob("*.py"))
    weights = [Path(model.weights)] if Path(model.weights).is_file() else []
    parts += [sha256_of(path) for path in [*files, *weights, *code]]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def run(
    model: ModelSettings,
    settings: TrainSettings,
    dataset: Path,
    proposals: Path,
    out: Path,
    log: Path,
    checkpoints: Path,
) -> None:
    """Train on `dataset/train.json` with `proposals/train.npz`; write `out/weights.pt` and DVCLive's log to `log`.

    checkpoints: a folder where the training's state is kept between epochs, and what is cached after them; both are
    removed at the end. Under torchrun all processes train together and the first one writes.
    """
    device = local_device(choose_device(settings.device))
    make_deterministic(settings.seed)
    annotations, boxes = dataset / "train.json", proposals / "train.npz"
    truth = load_coco(annotations)
    stored = load_proposals(boxes, len(truth.images))
    network = build(model, len(truth.classes))
    with join(device) as world:
        identity = _identity(model, settings, world, annotations, boxes)
        checkpoint = checkpoints / f"{identity[:12]}.pt"
        learn = partial(
            train,
            network,
            dataset / "images",
            truth,
            stored,
            settings,
            device=device,
            checkpoint=checkpoint,
            identity=identity,
            world=world,
        )
        if not world.first:
            learn(report=lambda epoch: None)
            return
        features = checkpoint.with_suffix(".features")
        # DVC snapshots experiments itself (`dvc exp run`); the log must not commit to git from inside a stage. A resume
        # reports the earlier epochs again, so that the log is always whole.
        with Live(str(log), save_dvc_exp=False, dvcyaml=None) as live:
            trained = learn(report=_Log(live, settings.epochs, log / "plots/losses.json")).eval()
            upright = TrainingImages(dataset / "images", truth, stored, settings.proposals, settings.seed, flip=False)
            figures = trained.fit(upright, settings, features)
            for name, value in figures.items():
                live.log_metric(name, value, plot=False)
            if figures:
                click.echo(", ".join(f"{name} {value:,.0f}" for name, value in figures.items()))
        save_trained(out / WEIGHTS_FILE, trained, model, truth.classes)
        checkpoint.unlink(missing_ok=True)
        shutil.rmtree(features, ignore_errors=True)


class _Log:
    """Each epoch on the terminal, in DVCLive, and in one file with all parts of the loss, whichever a detector has."""

    def __init__(self, live: Live, epochs: int, plot: Path) -> None:
        self._live, self._epochs, self._seconds, self._cpu_seconds = live, epochs, 0.0, 0.0
        self._plot = plot
        self._losses: list[dict[str, object]] = []

    def __call__(self, epoch: EpochReport) -> None:
        losses = ", ".join(f"{name} loss {value:.3f}" for name, value in epoch.losses.items())
        click.echo(f"epoch {epoch.epoch}/{self._epochs}: {losses}, {epoch.seconds:.0f} s")
        self._seconds += epoch.seconds  # of those before a resume too
        self._cpu_seconds += epoch.cpu_seconds
        self._live.step = epoch.epoch
        for name, value in epoch.losses.items():
            self._live.log_metric(f"loss/{name}", value)
            self._losses.append({"epoch": epoch.epoch, "part": name, "loss": value})
        write_json(self._plot, self._losses)
        self._live.log_metric("learning_rate", epoch.learning_rate, plot=False)
        self._live.log_metric("seconds", self._seconds, plot=False)
        self._live.log_metric("cpu_seconds", self._cpu_seconds, plot=False)
        self._live.next_step()
