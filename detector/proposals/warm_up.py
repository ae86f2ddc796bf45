"""Compiles every kernel before it is needed: `python -m detector.proposals.warm_up`, as in the build of a container.

Processes find the stored machine code if they have the same package at the same path, and the same processor.
"""

from __future__ import annotations

import os
import sys
from typing import get_args

import numpy as np

from detector.proposals.compiled import Summary, summary
from detector.proposals.selective_search import Mode, selective_search


def warm_up() -> Summary:
    """Call every kernel with every type of argument that the programs give it."""
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), np.uint8)
    for mode in get_args(Mode):
        image.flags.writeable = True
        selective_search(image, 1, mode)
        image.flags.writeable = False  # Numba sees another type
        selective_search(image, 1, mode)
    return summary()


def main() -> int:
    """Warm up and print a summary. Returns 1 if machine code could not be stored."""
    done = warm_up()
    print(f"kernels: {done.compiled} compiled, {done.found} found")
    for folder in done.kept:
        print(f"kept in {folder}")
    # If the features are not fixed, there are about eighty of them.
    features = f"the features {done.features or 'of its name'}" if "NUMBA_CPU_FEATURES" in os.environ else "all it has"
    print(f"for the CPU {done.cpu} with {features}")
    if "NUMBA_CPU_NAME" not in os.environ:
        print("other processors compile again; set one name for all of them, here and in use: docs/proposals.md")
    if done.unkept:
        print(f"error: {done.unkept} kernels could not be kept: no cache folder is writable", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
