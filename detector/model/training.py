"""The training loop: AdamW, one cycle, mixed precision, averaged weights, resumable after every epoch."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from detector.common.errors import TrainingError
from detector.common.progress import progress
from detector.data.annotations import CocoDataset
from detector.model.checkpoint import load_checkpoint, save_checkpoint
from detector.model.distributed import World
from detector.model.network import DetectionNetwork
from detector.model.training_images import LikeShapes, TrainingImages, collate
from detector.params import TrainSettings
from detector.proposals.store import Proposals

# Share of the steps in which the learning rate rises.
_WARM_UP = 0.1


@dataclass(frozen=True)
class EpochReport:
    """Means over one epoch, for the log."""

    epoch: int
    losses: dict[str, float]  # the network's parts by name, without the total
    learning_rate: float
    seconds: float
    cpu_seconds: float  # of this process; unlike the wall time, the same whatever else the machine does


def _groups(network: DetectionNetwork, settings: TrainSettings) -> list[dict[str, object]]:
    """Two learning rates; no decay of biases and normalisation, as is usual with AdamW."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            groups.setdefault((name.startswith("backbone."), parameter.ndim > 1), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": settings.learning_rate * (settings.backbone_rate if backbone else 1.0),
            "weight_decay": settings.weight_decay if matrix else 0.0,
        }
        for (backbone, matrix), parameters in groups.items()
    ]


def _moving_average(decay: float) -> Callable[[Sequence[Tensor], Sequence[Tensor], Tensor | int], None]:
    """Exponential average that starts as a plain one, so that a short training does not keep its first weights."""

    def update(averages: Sequence[Tensor], currents: Sequence[Tensor], count: Tensor | int) -> None:
        share = max(1.0 - decay, 9.0 / (10.0 + int(count)))
        torch._foreach_lerp_(list(averages), list(currents), share)

    return update


def train(
    network: DetectionNetwork,
    folder: Path,
    truth: CocoDataset,
    proposals: Proposals,
    settings: TrainSettings,
    *,
    device: torch.device,
    checkpoint: Path,
    identity: str,
    report: Callable[[EpochReport], None],
    world: World = World(),  # noqa: B008 (frozen)
) -> DetectionNetwork:
    """Train `network` in place and return the network to use: its averaged weights, or itself.

    world: the processes that train together, each of which calls this; a batch then has `settings.batch_size` images a
    process, and the losses are those of one process with so large a batch, where its images are of one size and each
    yields as many regions. Only the first writes and reports.

    folder: of the images; checkpoint: a file, written after every epoch; an earlier one with the same `identity` is
    resumed, and the result is the same as without the stop. report: called after every epoch, on a resume also for the
    epochs that were done before.
    """
    if not truth.images:
        raise TrainingError("there are no images to train on: the split `train` is empty")
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.freeze(settings.frozen_blocks)
    steps = len(LikeShapes(truth, settings.batch_size, settings.image_sizes, settings.seed, 0, world))
    groups = _groups(network, settings)
    optimiser = torch.optim.AdamW(groups, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=[group["lr"] for group in groups],  # type: ignore[misc]
        total_steps=settings.epochs * steps,
        pct_start=_WARM_UP + 1e-9,  # exactly a tenth of ten steps would be a division by zero
    )
    average = AveragedModel(network, multi_avg_fn=_moving_average(settings.average)) if settings.average > 0 else None
    reports: list[EpochReport] = []
    state = load_checkpoint(checkpoint, identity)
    if state:
        reports = [EpochReport(**values) for values in state["reports"]]
        network.load_state_dict(state["network"])
        optimiser.load_state_dict(state["optimiser"])
        schedule.load_state_dict(state["schedule"])
        if average:
            average.load_state_dict(state["average"])
    if world.sum({"epochs": float(len(reports))})["epochs"] != world.size * len(reports):
        raise TrainingError(
            f"process {world.rank} found the state of {len(reports)} epochs, others found another: all processes need "
            f"the same {checkpoint.parent}, on a disk that they share"
        )
    for earlier in reports if world.first else ():
        report(earlier)
    # One process's gradients are the mean over all.
    learner = DistributedDataParallel(network) if world.size > 1 else network
    images = TrainingImages(folder, truth, proposals, settings.proposals, settings.seed)
    for epoch in range(len(reports), settings.epochs):
        start, cpu_start = time.monotonic(), time.process_time()
        # No two small seeds, and no two processes, share an epoch's numbers.
        torch.manual_seed(settings.seed * 1_000_003 + epoch + world.rank * 1_000_000_007)  # dropout
        sampler = LikeShapes(truth, settings.batch_size, settings.image_sizes, settings.seed, epoch, world)
        loader = DataLoader(images, batch_sampler=sampler, collate_fn=collate, num_workers=1, prefetch_factor=2)
        totals: dict[str, float] = {}
        network.train()
        bar = progress(loader, len(sampler), f"epoch {epoch + 1}/{settings.epochs}", "batch", shown=world.first)
        for (batch, examples), weight in zip(bar, sampler.weights, strict=True):
            with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                losses = learner(batch.to(device, non_blocking=True), examples, settings)
            optimiser.zero_grad()
            (weight * losses["total"]).backward()
            optimiser.step()
            schedule.step()
            if average:
                average.update_parameters(network)
            share = weight / world.size
            parts = world.sum({name: share * loss.item() for name, loss in losses.items() if name != "total"})
            if not all(map(math.isfinite, parts.values())):
                raise TrainingError(
                    f"the loss is {parts} in epoch {epoch + 1}: lower train.learning_rate "
                    f"(now {settings.learning_rate}) or set train.precision to fp32"
                )
            for name, value in parts.items():
                totals[name] = totals.get(name, 0.0) + value
            bar.set_postfix({name: f"{value:.3f}" for name, value in parts.items()}, refresh=False)
        means = {name: total / len(sampler) for name, total in totals.items()}
        seconds, cpu_seconds = time.monotonic() - start, time.process_time() - cpu_start
        reports.append(EpochReport(epoch + 1, means, float(schedule.get_last_lr()[-1]), seconds, cpu_seconds))
        if world.first:
            save_checkpoint(
                checkpoint,
                {
                    "identity": identity,
                    "reports": [asdict(item) for item in reports],
                    "network": network.state_dict(),
                    "optimiser": optimiser.state_dict(),
                    "schedule": schedule.state_dict(),
                    "average": average.state_dict() if average else None,
                },
            )
            report(reports[-1])
    return cast(DetectionNetwork, average.module) if average else network
