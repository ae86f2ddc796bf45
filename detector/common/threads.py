"""Decides how long OpenMP's threads, which torch computes with, spin while they wait for each other."""

from __future__ import annotations

import os

# A thread that waits spins this often and then sleeps. By default libgomp spins 300,000 times. If another program uses
# the machine too, spinning takes the core from the thread that it waits for. With this number a training beside a busy
# program takes 1.5 times its time alone, with the default 2.7 times; alone it costs one per cent (docs/benchmarks.md).
SPINS = "5000"


def sleep_soon() -> None:
    """Let waiting threads sleep soon, unless the environment says how they wait. Call it before torch is imported."""
    if not {"GOMP_SPINCOUNT", "OMP_WAIT_POLICY"} & os.environ.keys():
        os.environ["GOMP_SPINCOUNT"] = SPINS
