"""Stage `train`: trains the network's weights on the training split."""

from __future__ import annotations

import hashlib
import os
import tempfile
from pathlib import Path

import click
import torch
from dvclive.live import Live

from detector.common.digests import sha256_of
from detector.common.errors import TrainingError
from detector.common.files import lies_in
from detector.data.annotations import load_coco
from detector.model.checkpoint import load_checkpoint, remove_others
from detector.model.device import choose_device, usable_threads
from detector.model.learning import Lesson, learn
from detector.model.network import DetectionNetwork
from detector.model.precision import Precision, resolve_precision
from detector.model.start import begin, weights_of
from detector.model.trained import save_trained
from detector.model.training import EpochReport
from detector.model.weights_file import WEIGHTS_FILE, Making
from detector.params import ModelSettings, TrainSettings
from detector.stages import layout
from detector.stages.computation import computation_digest
from detector.stages.metrics_file import write_json

# Everything that decides the weights is imported by this module.
_COMPUTATION = "detector.model.learning"


def run(
    model: ModelSettings,
    settings: TrainSettings,
    dataset: Path,
    proposals: Path,
    out: Path,
    log: Path,
    scratch: Path,
    checkpoints: str | None = None,
    making: dict[str, dict[str, object]] | None = None,
) -> None:
    """Train on `dataset/train.json` with `proposals/train.npz`; write the weights to `out` and DVCLive's log to `log`.

    checkpoints: a folder or an s3:// prefix where the training's state is stored after every epoch, by default
    `scratch`. The state of the last finished training stays there, so that a training of the same code, settings and
    data ends in seconds. scratch: a folder for expensive intermediate results, which are deleted at the end. making:
    sections of params.yaml to store with the weights, besides `model` and `train`.

    Under torchrun each process has its own batch, and the first one writes.
    Raises AnnotationError if no image has a box to learn from, TrainingError if `model.start_from` names something that
    a stage replaces or that cannot be used, and WeightsError if it has no weights.
    """
    truth = load_coco(dataset / "train.json")
    truth.require_boxes(dataset / "train.json")
    for product in (out, *layout.PRODUCTS):
        if lies_in(Path(model.start_from), product):
            raise TrainingError(
                f"model.start_from: {model.start_from} lies in {product}, which a stage replaces: copy it to another "
                "folder, and name that"
            )
    with tempfile.TemporaryDirectory(prefix="boxcar-") as folder:
        start = weights_of(model, Path(folder))
        device = choose_device(settings.device)
        checkpoints = checkpoints or str(scratch)
        inputs = [dataset / "train.json", dataset / "val.json", proposals / "train.npz", proposals / "val.npz"]
        # Images may change while their names, sizes and labels stay.
        images = [*truth.images, *load_coco(dataset / "val.json").images]
        inputs += [dataset / "images" / image.file_name for image in images]
        identity = _identity(model, settings, [*inputs, *([start] if start else [])])
        checkpoint = f"{checkpoints.rstrip('/')}/{identity[:12]}.pt"
        precision = resolve_precision(settings.precision, device)
        if earlier := load_checkpoint(checkpoint, identity):
            if _is_first() and len(earlier["reports"]) < settings.epochs:
                _say_differences(earlier["precision"], precision, earlier["torch"])
            precision = earlier["precision"]
        torch.set_num_threads(usable_threads())
        if _is_first():
            click.echo(f"training on {device.type} in {precision}, threads: {torch.get_num_threads()}")
            _say_start(model, truth.classes, start)
        sections = {**(making or {}), "model": model.model_dump(mode="json"), "train": settings.model_dump(mode="json")}
        lesson = Lesson(
            model=model,
            settings=settings,
            precision=precision,
            dataset=dataset,
            proposals=proposals,
            checkpoint=checkpoint,
            identity=identity,
            scratch=scratch,
            start=start,
        )
        made = Making(sections, truth.classes, precision)
        _train(lesson, made, settings.epochs, out / WEIGHTS_FILE, log)
        if _is_first():
            remove_others(checkpoints, checkpoint)


def _say_start(model: ModelSettings, classes: tuple[str, ...], start: Path | None) -> None:
    """Print which weights the training starts from, where that is an earlier detector."""
    if start is None:
        return
    begun = begin(model, classes, start)
    kept = f"the classes {', '.join(begun.kept)} too" if begun.kept else "and none of its classes"
    click.echo(f"starting from {model.start_from}, {kept}; new: {', '.join(begun.new) or 'nothing'}")


def _identity(model: ModelSettings, settings: TrainSettings, files: list[Path]) -> str:
    """Return the digest of everything that decides the result; a training resumes only from an equal one.

    The precision that `auto` came to is not part of it, nor are the versions of torch and of Python: another machine
    may resume the training, with a GPU or another processor, and uses the precision of the checkpoint.
    """
    parts = [model.model_dump_json(), settings.model_dump_json()]
    parts.append(computation_digest(_COMPUTATION))
    parts.append(os.environ.get("WORLD_SIZE", "1"))  # under torchrun each process has its own batch
    backbone = [Path(model.start_from)] if Path(model.start_from).is_file() else []
    parts += [sha256_of(path) for path in [*files, *backbone]]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _say_differences(earlier: Precision, precision: Precision, version: str) -> None:
    """Print in what a resumed training differs from a new one: its precision, and the torch that it began with."""
    if earlier != precision:
        click.echo(f"resuming in {earlier}, as the training began; a new training would take {precision} here")
    if version != torch.__version__:
        click.echo(f"resuming with torch {torch.__version__}; the training began with {version}")


def _is_first() -> bool:
    """Whether this process writes: torchrun numbers the processes of a training."""
    return os.environ.get("RANK", "0") == "0"


def _train(lesson: Lesson, making: Making, epochs: int, weights: Path, log: Path) -> None:
    """Run one process of the training; the first one writes the log and the weights."""
    if not _is_first():
        learn(lesson, report=lambda epoch: None, finish=lambda network, figures: None)
        return
    # DVC snapshots experiments itself (`dvc exp run`); the log must not commit to git from inside a stage. A resume
    # reports the earlier epochs again, so that the log is always whole.
    with Live(str(log), save_dvc_exp=False, dvcyaml=None) as live:
        live.log_metric("precision", making.precision, plot=False)

        def finish(network: DetectionNetwork, figures: dict[str, float]) -> None:
            best = log_of_epochs.best()
            if best is not None:
                for name, value in best.items():
                    live.log_metric(f"best/{name}", value, plot=False)
                click.echo(f"the weights are those of epoch {best['epoch']}, the best on val")
            for name, value in figures.items():
                live.log_metric(name, value, plot=False)
            if figures:
                click.echo(", ".join(f"{name} {value:,.0f}" for name, value in figures.items()))
            save_trained(weights, network, making)

        log_of_epochs = _Log(live, epochs, log / "plots")
        learn(lesson, log_of_epochs, finish)


# What the terminal calls the figures of an epoch.
_TITLES = {"ap": "AP", "ap_50": "AP@.5"}


class _Log:
    """Writes each epoch to the terminal, to DVCLive, and to files with all parts of the loss and the AP on val."""

    def __init__(self, live: Live, epochs: int, plots: Path) -> None:
        self._live, self._epochs, self._seconds, self._cpu_seconds, self._validating = live, epochs, 0.0, 0.0, 0.0
        self._plots = plots
        self._losses: list[dict[str, object]] = []
        self._measured: list[dict[str, float]] = []

    def __call__(self, epoch: EpochReport) -> None:
        losses = ", ".join(f"{name} loss {value:.3f}" for name, value in epoch.losses.items())
        figures = "".join(f", val {_TITLES[name]} {value:.3f}" for name, value in epoch.validation.items())
        click.echo(f"epoch {epoch.epoch}/{self._epochs}: {losses}{figures}, {epoch.seconds:.1f} s")
        self._seconds += epoch.seconds  # epochs before a resume count too
        self._cpu_seconds += epoch.cpu_seconds
        self._validating += epoch.validation_cpu_seconds
        self._live.step = epoch.epoch
        for name, value in epoch.losses.items():
            self._live.log_metric(f"loss/{name}", value)
            self._losses.append({"epoch": epoch.epoch, "part": name, "loss": value})
        write_json(self._plots / "losses.json", self._losses)
        for name, value in epoch.validation.items():
            self._live.log_metric(f"val/{name}", value)
        self._measured.append({"epoch": epoch.epoch, **epoch.validation})
        write_json(self._plots / "validation.json", self._measured if epoch.validation else [])
        self._live.log_metric("learning_rate", epoch.learning_rate, plot=False)
        self._live.log_metric("seconds", self._seconds, plot=False)
        self._live.log_metric("cpu_seconds", self._cpu_seconds, plot=False)
        self._live.log_metric("validation_cpu_seconds", self._validating, plot=False)
        self._live.next_step()

    def best(self) -> dict[str, float] | None:
        """Return the epoch with the highest AP on val, of equal ones the last, and its figures; None if none was
        measured."""
        measured = [row for row in self._measured if "ap" in row]
        return max(measured, key=lambda row: (row["ap"], row["epoch"]), default=None)
