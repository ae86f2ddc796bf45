"""The training loop: AdamW, one cycle, mixed precision, averaged weights, resumable after every epoch."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel
from torch.utils.data import DataLoader

from detector.data.annotations import CocoDataset
from detector.errors import TrainingError
from detector.model.checkpoint import load_checkpoint, save_checkpoint
from detector.model.fast_rcnn import FastRCNN
from detector.model.losses import multi_task_loss
from detector.model.targets import sample
from detector.model.training_images import Example, LikeShapes, TrainingImages, collate
from detector.params import TrainSettings
from detector.progress import progress
from detector.proposals.store import Proposals

# Share of the steps in which the learning rate rises.
_WARM_UP = 0.1


@dataclass(frozen=True)
class EpochReport:
    """Means over one epoch, for the log."""

    epoch: int
    class_loss: float
    box_loss: float
    learning_rate: float
    seconds: float


def _groups(network: FastRCNN, settings: TrainSettings) -> list[dict[str, object]]:
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


def _draw_targets(
    examples: list[Example], settings: TrainSettings, generator: torch.Generator, device: torch.device
) -> tuple[list[Tensor], Tensor, Tensor, Tensor]:
    """Proposals B x (R_b, 4), and over all images boxes (R, 4), labels (R,), matched (R, 4)."""
    drawn = [sample(e.proposals, e.truth, e.labels, e.ignore, e.crowd, settings.regions, generator) for e in examples]
    return (
        [targets.boxes.to(device) for targets in drawn],
        torch.cat([targets.boxes for targets in drawn]).to(device),
        torch.cat([targets.labels for targets in drawn]).to(device),
        torch.cat([targets.matched for targets in drawn]).to(device),
    )


def train(
    network: FastRCNN,
    folder: Path,
    truth: CocoDataset,
    proposals: Proposals,
    settings: TrainSettings,
    *,
    device: torch.device,
    checkpoint: Path,
    identity: str,
    report: Callable[[EpochReport], None],
) -> nn.Module:
    """Train `network` in place and return the network to use: its averaged weights, or itself.

    folder: of the images; checkpoint: a file, written after every epoch; an earlier one with the same `identity` is
    resumed, and the result is the same as without the stop. report: called after every epoch, on a resume also for the
    epochs that were done before.
    """
    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    network.backbone.freeze(settings.frozen_blocks)  # type: ignore[operator]
    steps = len(LikeShapes(truth, settings.batch_size, settings.image_sizes, settings.seed, 0))
    groups = _groups(network, settings)
    optimiser = torch.optim.AdamW(groups, fused=True)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser,
        max_lr=[group["lr"] for group in groups],  # type: ignore[misc]
        total_steps=settings.epochs * steps,
        pct_start=_WARM_UP,
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
    for earlier in reports:
        report(earlier)
    images = TrainingImages(folder, truth, proposals, settings.proposals, settings.seed)
    for epoch in range(len(reports), settings.epochs):
        start = time.monotonic()
        seed = settings.seed * 1_000_003 + epoch  # no two small seeds share an epoch's numbers
        torch.manual_seed(seed)  # dropout
        generator = torch.Generator().manual_seed(seed)
        sampler = LikeShapes(truth, settings.batch_size, settings.image_sizes, settings.seed, epoch)
        loader = DataLoader(images, batch_sampler=sampler, collate_fn=collate, num_workers=1, prefetch_factor=2)
        totals = torch.zeros(2, dtype=torch.float64)
        network.train()
        bar = progress(loader, len(sampler), f"epoch {epoch + 1}/{settings.epochs}", "batch")
        for batch, examples in bar:
            boxes, flat, labels, matched = _draw_targets(examples, settings, generator, device)
            with torch.autocast(device.type, torch.bfloat16, enabled=settings.precision == "bf16"):
                logits, deltas = network(batch.to(device, non_blocking=True), boxes)
            losses = multi_task_loss(logits, deltas, flat, labels, matched, settings.box_weight)
            optimiser.zero_grad()
            losses["total"].backward()
            optimiser.step()
            schedule.step()
            if average:
                average.update_parameters(network)
            parts = torch.stack([losses["class"], losses["box"]]).detach().double().cpu()
            if not torch.isfinite(parts).all():
                raise TrainingError(
                    f"the loss is {parts.tolist()} in epoch {epoch + 1}: lower train.learning_rate "
                    f"(now {settings.learning_rate}) or set train.precision to fp32"
                )
            totals += parts
            bar.set_postfix(loss_class=f"{parts[0]:.3f}", loss_box=f"{parts[1]:.3f}", refresh=False)
        class_loss, box_loss = (totals / max(1, len(sampler))).tolist()
        seconds, rate = time.monotonic() - start, float(schedule.get_last_lr()[-1])
        reports.append(EpochReport(epoch + 1, class_loss, box_loss, rate, seconds))
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
    return average.module if average else network
