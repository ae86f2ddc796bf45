"""The devices that a graph may run on, and what this machine has."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

# What commands take; auto: the GPU where ONNX Runtime can use one, and the processor otherwise.
DEVICES = ("auto", "cpu", "cuda")
# NVIDIA's driver for Linux shows itself here, in containers too.
_DRIVER = Path("/proc/driver/nvidia/version")


@dataclass(frozen=True)
class Device:
    """Where a graph runs; why_not_gpu: why a GPU of this machine is not used, or "" if there is none, or it is used."""

    kind: Literal["cpu", "cuda"]
    why_not_gpu: str = ""


def may_use_gpu(device: str) -> bool:
    """Return whether a session with this device will try to use a GPU of this machine."""
    if device == "cpu" or not _DRIVER.exists():
        return False
    import onnxruntime

    return "CUDAExecutionProvider" in onnxruntime.get_available_providers()


def why_not_gpu(has_provider: bool) -> str:
    """Return why a GPU of this machine is not used; "" if there is none."""
    if not _DRIVER.exists():
        return ""
    if not has_provider:
        return "this ONNX Runtime has no CUDA provider; install onnxruntime-gpu in the place of onnxruntime"
    return "the CUDA provider of ONNX Runtime does not load; check the versions of driver, CUDA and cuDNN it asks for"
