"""Stage `train`: the network's weights from the training split."""

from __future__ import annotations

import hashlib
import os
import shutil
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from pathlib import Path

import click
from dvclive.live import Live

from detector.common.digests import sha256_of
from detector.data.annotations import load_coco
from detector.model.checkpoint import load_checkpoint, remove_others
from detector.model.device import choose_device, choose_processes, make_deterministic, usable_threads
from detector.model.distributed import join, local_device, run_together, under_torchrun
from detector.model.family import build
from detector.model.precision import Precision, resolve_precision
from detector.model.trained import Making, save_trained
from detector.model.training import EpochReport, train
from detector.model.training_images import TrainingImages
from detector.params import ModelSettings, TrainSettings
from detector.proposals.store import load_proposals
from detector.stages.computation import computation_digest
from detector.stages.metrics_file import write_json

WEIGHTS_FILE = "weights.safetensors"
# Everything that decides the weights is imported by these.
_COMPUTATION = ("detector.model.training", "detector.model.family", "detector.model.device")


@dataclass(frozen=True)
class _Job:
    """One training, as each of its processes gets it."""

    model: ModelSettings
    settings: TrainSettings  # batch_size is that of one process
    making: Making
    precision: Precision
    dataset: Path
    proposals: Path
    out: Path
    log: Path
    scratch: Path
    checkpoints: str
    checkpoint: str
    identity: str


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

    checkpoints: a folder or an s3:// prefix where the training's state is kept after every epoch; `scratch` unless
    given. That of the last finished training stays there, so that a training of the same code, settings and data ends
    in seconds. scratch: a folder for what is expensive to compute again; it is emptied at the end. making: sections of
    params.yaml to store with the weights besides `model` and `train`.

    On a CPU several processes may share each batch (`train.processes`); under torchrun each process has a batch of its
    own, and the first one writes.
    """
    device = choose_device(settings.device)
    checkpoints = checkpoints or str(scratch)
    identity = _identity(model, settings, dataset / "train.json", proposals / "train.npz")
    checkpoint = f"{checkpoints.rstrip('/')}/{identity[:12]}.pt"
    processes = 1 if under_torchrun() else choose_processes(settings.processes, device, settings.batch_size)
    precision = resolve_precision(settings.precision, device)
    if earlier := load_checkpoint(checkpoint, identity):
        precision, processes = _keep(earlier, precision, processes)
    threads = max(1, usable_threads() // processes)
    if not under_torchrun():
        click.echo(f"training on {device.type} in {precision}, {processes} processes with {threads} threads each")
    sections = {**(making or {}), "model": model.model_dump(mode="json"), "train": settings.model_dump(mode="json")}
    run_together(
        processes,
        threads,
        _train,
        _Job(
            model=model,
            settings=settings.model_copy(update={"batch_size": settings.batch_size // processes}),
            making=Making(sections, load_coco(dataset / "train.json").classes, precision, processes),
            precision=precision,
            dataset=dataset,
            proposals=proposals,
            out=out,
            log=log,
            scratch=scratch,
            checkpoints=checkpoints,
            checkpoint=checkpoint,
            identity=identity,
        ),
    )


def _identity(model: ModelSettings, settings: TrainSettings, *files: Path) -> str:
    """Digest of all that decides the result; a training resumes only from a checkpoint with the same one.

    Precision and number of processes are not part of it: a machine that takes over has perhaps another processor, and
    goes on with the checkpoint's own.
    """
    parts = [model.model_dump_json(), settings.model_dump_json(exclude={"processes"})]
    parts += [version("torch"), version("torchvision"), computation_digest(*_COMPUTATION)]
    parts.append(os.environ.get("WORLD_SIZE", "1"))  # under torchrun each process has a batch of its own
    weights = [Path(model.weights)] if Path(model.weights).is_file() else []
    parts += [sha256_of(path) for path in [*files, *weights]]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()


def _keep(earlier: dict[str, object], precision: Precision, processes: int) -> tuple[Precision, int]:
    """The precision and the number of processes of an earlier checkpoint, which a resumed training keeps."""
    kept: tuple[Precision, int] = earlier["precision"], processes if under_torchrun() else earlier["processes"]  # type: ignore[assignment]
    if kept != (precision, processes):
        click.echo(
            f"resuming in {kept[0]} with {kept[1]} processes, as the training began; "
            f"this machine alone would take {precision} and {processes}"
        )
    return kept


def _train(job: _Job) -> None:
    """Train in this process, with the others of the same training if there are any."""
    device = local_device(choose_device(job.settings.device))
    make_deterministic(job.settings.seed)
    truth = load_coco(job.dataset / "train.json")
    stored = load_proposals(job.proposals / "train.npz", len(truth.images))
    network = build(job.model, len(truth.classes))
    with join(device) as world:
        learn = partial(
            train,
            network,
            job.dataset / "images",
            truth,
            stored,
            job.settings,
            device=device,
            precision=job.precision,
            checkpoint=job.checkpoint,
            identity=job.identity,
            world=world,
        )
        if not world.first:
            learn(report=lambda epoch: None)
            return
        # DVC snapshots experiments itself (`dvc exp run`); the log must not commit to git from inside a stage. A resume
        # reports the earlier epochs again, so that the log is always whole.
        with Live(str(job.log), save_dvc_exp=False, dvcyaml=None) as live:
            live.log_metric("precision", job.precision, plot=False)
            live.log_metric("processes", job.making.processes, plot=False)
            trained = learn(report=_Log(live, job.settings.epochs, job.log / "plots/losses.json")).eval()
            upright = TrainingImages(
                job.dataset / "images", truth, stored, job.settings.proposals, job.settings.seed, flip=False
            )
            features = job.scratch / f"{job.identity[:12]}.features"
            figures = trained.fit(upright, job.settings, features)
            for name, value in figures.items():
                live.log_metric(name, value, plot=False)
            if figures:
                click.echo(", ".join(f"{name} {value:,.0f}" for name, value in figures.items()))
        save_trained(job.out / WEIGHTS_FILE, trained, job.making)
        remove_others(job.checkpoints, job.checkpoint)
        shutil.rmtree(features, ignore_errors=True)


class _Log:
    """Writes each epoch to the terminal, to DVCLive, and to one file with all parts of the loss."""

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
