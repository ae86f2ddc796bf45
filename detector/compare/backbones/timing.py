"""Measures latency on this machine."""

from __future__ import annotations

import time
from collections.abc import Mapping

import torch
from torch import Tensor, nn

# Passes of every network that are not measured: they allocate memory and start threads.
_WARM_UP = 1


def latencies(networks: Mapping[str, tuple[nn.Module, Tensor]], repeats: int) -> dict[str, list[float]]:
    """Return the seconds of `repeats` forward passes of each network, in evaluation mode, without gradients.

    networks: each with its input. All networks take turns, so that other work on the machine affects all of them alike.
    """
    seconds: dict[str, list[float]] = {name: [] for name in networks}
    # Random weights can shrink activations to denormal numbers, which trained ones do not, and which are slow.
    torch.set_flush_denormal(True)
    try:
        with torch.inference_mode():
            for turn in range(_WARM_UP + repeats):
                for name, (network, images) in networks.items():
                    start = time.perf_counter()
                    network(images)
                    if turn >= _WARM_UP:
                        seconds[name].append(time.perf_counter() - start)
    finally:
        torch.set_flush_denormal(False)
    return seconds
