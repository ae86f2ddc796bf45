"""Chooses the number format of a training: bfloat16 only if the processor has instructions for it.

Without them torch emulates bfloat16, which made an epoch seven times as slow as float32 (docs/benchmarks.md).
"""

from __future__ import annotations

import os
from typing import Literal

import torch

Precision = Literal["bf16", "fp32"]

# Values of ONEDNN_MAX_CPU_ISA, which limits the library behind torch's convolutions, that allow bfloat16 instructions.
_ISA_WITH_BF16 = ("ALL", "DEFAULT", "AVX512_CORE_BF16", "AVX512_CORE_FP16", "AVX512_CORE_AMX", "AVX10_2")


def resolve_precision(wanted: Literal["auto", "bf16", "fp32"], device: torch.device) -> Precision:
    """Return the precision of `train.precision` on this device: `auto` is bf16 if the device computes it, else fp32."""
    if wanted != "auto":
        return wanted
    supported = torch.cuda.is_bf16_supported(including_emulation=False) if device.type == "cuda" else _cpu_has_bf16()
    return "bf16" if supported else "fp32"


def _cpu_has_bf16() -> bool:
    """Return whether this processor multiplies bfloat16 matrices, and the environment allows these instructions."""
    limit = (os.environ.get("ONEDNN_MAX_CPU_ISA") or os.environ.get("DNNL_MAX_CPU_ISA") or "ALL").upper()
    capabilities = torch.cpu.get_capabilities()
    if capabilities.get("architecture") != "x86_64":
        return bool(capabilities.get("bf16"))  # ARM: Apple's processors and Graviton 3 have it
    return (
        any(capabilities.get(name) for name in ("amx_bf16", "avx512_bf16"))
        and limit.startswith(_ISA_WITH_BF16)
        and torch.backends.cpu.get_cpu_capability() == "AVX512"  # ATEN_CPU_CAPABILITY can lower it
    )
