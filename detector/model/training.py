"""The training loop: AdamW with one cycle, mixed precision and averaged weights; it can resume after every epoch.

After each epoch the network is measured on the validation split. The result is the best epoch's network.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel

from detector.common.errors import TrainingError
from detector.common.progress import progress
from detector.data.annotations import CocoDataset
from detector.model.checkpoint import load_checkpoint, save_checkpoint
from detector.model.distributed import World
from detector.model.network import DetectionNetwork
from detector.model.pointwise import multiply_pointwise
from detector.model.precision import Precision
from detector.model.training_images import Batches, LikeShapes, TrainingImages, batches
from detector.model.validation import Figures, Validate
from detector.params import TrainSettings
from detector.proposals.store import Proposals

# The part of the steps in which the learning rate rises.
_WARM_UP = 0.1
# The losses are read once in this many steps, because a GPU waits for the host then.
_STEPS_UNREAD = 10


@dataclass(frozen=True)
class EpochReport:
    """Means over one epoch, for the log."""

    epoch: int
    losses: dict[str, float]  # the network's parts by name, without the total
    learning_rate: float
    seconds: float
    cpu_seconds: float  # of all training processes, without their loaders; other work on the machine does not change it
    device: str  # "cpu" or "cuda"; a training may go on on another one
    validation: dict[str, float]  # the fields of Figures; empty if nothing is validated
    validation_cpu_seconds: float  # not among the others


@dataclass(frozen=True)
class Best:
    """The best epoch so far: its number, its AP on the validation split, and its weights on the CPU."""

    epoch: int
    ap: float
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Learner:
    """Everything that a training step changes, with its device and precision."""

    network: DetectionNetwork
    wrapped: nn.Module  # the network, or a wrapper that averages its gradients over processes
    optimiser: torch.optim.Optimizer
    schedule: torch.optim.lr_scheduler.LRScheduler
    average: AveragedModel | None
    device: torch.device
    precision: Precision

    def _parts(self) -> dict[str, Any]:
        own = {"network": self.network, "optimiser": self.optimiser, "schedule": self.schedule, "average": self.average}
        return {name: part for name, part in own.items() if part is not None}

    @property
    def product(self) -> DetectionNetwork:
        """Return the network to use: that of the averaged weights, if there is one."""
        return cast(DetectionNetwork, self.average.module) if self.average else self.network

    def state(self) -> dict[str, Any]:
        """Return the state that a resumed training needs."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from what `state` returned."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])


def train(
    network: DetectionNetwork,
    folder: Path,
    truth: CocoDataset,
    proposals: Proposals,
    settings: TrainSettings,
    *,
    device: torch.device,
    precision: Precision,
    checkpoint: str,
    identity: str,
    report: Callable[[EpochReport], None],
    validate: Validate | None = None,
    kept: Collection[str] = (),
    world: World = World(),  # noqa: B008 (frozen)
) -> DetectionNetwork:
    """Train `network` in place and return the network to use, with its averaged weights or its own.

    validate: measures a network after each epoch. The weights are those of the epoch with the highest AP, of equal ones
    the last; the training ends after `settings.patience` epochs without a higher one. None: those of the last epoch.
    kept: names of the parameters of an earlier detector, which learn at `settings.start_rate`.

    folder: holds the images. world: the processes that train together, each of which calls this function. Each uses
    `settings.batch_size` images in a step. If all images have the same size and number of regions, the losses are those
    of one process with all images. Only the first process writes and reports.

    checkpoint: a file or a URI, written after every epoch. An earlier one with the same `identity` is resumed, and the
    result is the same as without a stop. report: called after every epoch, and for earlier epochs on a resume.
    Raises TrainingError if the split is empty, a loss is not a number, or processes resume at different epochs.
    """
    if not truth.images:
        raise TrainingError("there are no images to train on: the split `train` is empty")
    learner = new_learner(network, truth, settings, device, precision, world, kept)
    reports: list[EpochReport] = []
    best: Best | None = None
    began = str(torch.__version__)
    if state := load_checkpoint(checkpoint, identity):
        reports = [EpochReport(**values) for values in state["reports"]]
        began = state["torch"]
        # Only the first process goes on to look for the best epoch.
        best = Best(**state["best"]) if world.first and state["best"] else None
        learner.restore(state)
    if world.sum({"epochs": float(len(reports))})["epochs"] != world.size * len(reports):
        raise TrainingError(
            f"process {world.rank} resumed after {len(reports)} epochs, and another process after another number: all "
            f"need the same {checkpoint}, on a disk that they share"
        )
    for earlier in reports if world.first else ():
        report(earlier)
    images = TrainingImages(folder, truth, proposals, settings.proposals, settings.seed, settings.augment)
    for epoch in range(len(reports), settings.epochs):
        if _lost_patience(len(reports), best, settings, world):
            break
        start, cpu_start = time.monotonic(), time.process_time()
        sampler = LikeShapes(truth, settings, epoch, world)
        losses = train_one_epoch(learner, batches(images, sampler, device), sampler.weights, settings, epoch, world)
        rate, seconds = float(learner.schedule.get_last_lr()[-1]), time.monotonic() - start
        cpu_seconds = world.sum({"cpu": time.process_time() - cpu_start})["cpu"]
        cpu_start = time.process_time()
        measured = validate(learner.product) if validate and world.first else None
        figures, validating = asdict(measured) if measured else {}, time.process_time() - cpu_start
        reports.append(EpochReport(epoch + 1, losses, rate, seconds, cpu_seconds, device.type, figures, validating))
        if world.first:
            best = _better(best, epoch + 1, measured, learner.product)
            state = {"identity": identity, "precision": precision, "torch": began}
            state["best"] = vars(best) if best else None
            save_checkpoint(checkpoint, state | {"reports": [asdict(item) for item in reports]} | learner.state())
            report(reports[-1])
    if best:
        learner.product.load_state_dict(best.weights)
    return learner.product


def _better(best: Best | None, epoch: int, measured: Figures | None, network: DetectionNetwork) -> Best | None:
    """Return the better of the best epoch so far and this one, which is the network's."""
    if measured is None or (best is not None and best.ap > measured.ap):
        return best
    weights = {name: value.detach().cpu().clone() for name, value in network.state_dict().items()}
    return Best(epoch, measured.ap, weights)


def _lost_patience(epochs: int, best: Best | None, settings: TrainSettings, world: World) -> bool:
    """Return whether the last `settings.patience` epochs were not better than the best, in all processes alike."""
    waited = float(epochs - best.epoch) if best else 0.0  # only the first process knows the best epoch
    return 0 < settings.patience <= world.sum({"waited": waited})["waited"]


def train_one_epoch(
    learner: Learner,
    loader: Batches,
    weights: Sequence[float],
    settings: TrainSettings,
    epoch: int,
    world: World,
) -> dict[str, float]:
    """Train for one epoch; weights: of each batch in the loss. Returns the mean of each part, without the total."""
    # Different seeds, epochs and processes get different random numbers.
    torch.manual_seed(settings.seed * 1_000_003 + epoch + world.rank * 1_000_000_007)  # dropout
    bar = progress(loader, len(loader), f"epoch {epoch + 1}/{settings.epochs}", "batch", shown=world.first)
    sums: dict[str, Tensor] = {}
    learner.network.train()
    for step, ((batch, examples), weight) in enumerate(zip(bar, weights, strict=True), start=1):
        with torch.autocast(learner.device.type, torch.bfloat16, enabled=learner.precision == "bf16"):
            losses = learner.wrapped(batch.to(learner.device, non_blocking=True), examples, settings)
        learner.optimiser.zero_grad()
        (weight * losses["total"]).backward()
        learner.optimiser.step()
        learner.schedule.step()
        if learner.average:
            learner.average.update_parameters(learner.network)
        for name, loss in losses.items():
            sums[name] = sums.get(name, 0.0) + weight * loss.detach()
        if step % _STEPS_UNREAD == 0 or step == len(loader):
            means = world.sum({name: total.item() / step / world.size for name, total in sums.items()})
            _require_numbers(means, epoch, settings)
            bar.set_postfix({name: f"{value:.3f}" for name, value in means.items()}, refresh=False)
    return {name: value for name, value in means.items() if name != "total"}


def _require_numbers(losses: dict[str, float], epoch: int, settings: TrainSettings) -> None:
    if not all(map(math.isfinite, losses.values())):
        raise TrainingError(
            f"the loss is {losses} in epoch {epoch + 1}: lower train.learning_rate "
            f"(now {settings.learning_rate}) or set train.precision to fp32"
        )


def new_learner(
    network: DetectionNetwork,
    truth: CocoDataset,
    settings: TrainSettings,
    device: torch.device,
    precision: Precision,
    world: World,
    kept: Collection[str] = (),
) -> Learner:
    """Return the network on its device, with an optimiser and a schedule for the whole training."""
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.freeze(settings.frozen_blocks)
    if device.type == "cpu" and precision == "fp32" and torch.get_num_threads() == 1:
        multiply_pointwise(network)
    groups = _groups(network, settings, kept)
    optimiser = torch.optim.AdamW(groups, fused=True)
    steps = len(LikeShapes(truth, settings, 0, world))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=[group["lr"] for group in groups],  # type: ignore[misc]
        total_steps=settings.epochs * steps,
        pct_start=_WARM_UP + 1e-9,  # exactly a tenth of ten steps would be a division by zero
    )
    average = AveragedModel(network, multi_avg_fn=_moving_average(settings.average)) if settings.average > 0 else None
    # The gradients become the mean over all processes.
    wrapped = DistributedDataParallel(network) if world.size > 1 else network
    return Learner(network, wrapped, optimiser, schedule, average, device, precision)


def _groups(network: DetectionNetwork, settings: TrainSettings, kept: Collection[str]) -> list[dict[str, object]]:
    """Return groups of parameters with their rate and decay; biases and normalisation do not decay, as usual."""
    groups: dict[tuple[float, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            share = settings.backbone_rate if name.startswith("backbone.") else 1.0
            share *= settings.start_rate if name in kept else 1.0
            groups.setdefault((share, parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": settings.learning_rate * share,
            "weight_decay": settings.weight_decay if matrix else 0.0,
        }
        for (share, matrix), parameters in groups.items()
    ]


def _moving_average(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """Return an exponential average that starts as a plain one, so that a short training forgets its first weights."""

    def update(averages: Sequence[Tensor], currents: Sequence[Tensor], count: Tensor | int) -> None:
        share = max(1.0 - decay, 9.0 / (10.0 + int(count)))
        torch._foreach_lerp_(list(averages), list(currents), share)

    return update
