"""Batch normalisation that keeps the statistics of pre-training."""

from __future__ import annotations

from torch import Tensor, nn


class FrozenBatchNorm(nn.Module):
    """Batch normalisation with the statistics of pre-training and trainable scale and shift.

    Detection batches are too small for statistics of their own, as in Faster R-CNN's ResNets.
    """

    running_mean: Tensor
    running_var: Tensor

    def __init__(self, source: nn.BatchNorm2d) -> None:
        super().__init__()
        self.weight = nn.Parameter(source.weight.detach().clone())
        self.bias = nn.Parameter(source.bias.detach().clone())
        self.register_buffer("running_mean", source.running_mean.detach().clone())  # type: ignore[union-attr]
        self.register_buffer("running_var", source.running_var.detach().clone())  # type: ignore[union-attr]
        self.eps = source.eps

    def forward(self, x: Tensor) -> Tensor:  # (B, C, H, W)
        return nn.functional.batch_norm(
            x,
            self.running_mean,
            self.running_var,
            self.weight,
            self.bias,
            training=False,
            eps=self.eps,  # type: ignore[arg-type]
        )


def freeze_statistics(network: nn.Module) -> None:
    """Replace every batch normalisation inside `network`, in place."""
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.BatchNorm2d):
                frozen: nn.Module = FrozenBatchNorm(child)
                if isinstance(
                    activation := getattr(child, "act", None), nn.Module
                ):  # timm's BatchNormAct2d has an activation
                    frozen = nn.Sequential(frozen, activation)
                setattr(parent, name, frozen)
