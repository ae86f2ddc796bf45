"""Measures the memory of one network: `python -m detector.compare.backbones.memory NAME` prints bytes.

It is how much the process grows from before the network is built to the peak of one forward pass: weights, activations
and the libraries' work space. Each network gets a new process, because a process does not give freed memory back.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import torch

from detector.compare.backbones.classifiers import CLASSIFIERS

_STATUS = Path("/proc/self/status")


def peak_bytes(name: str) -> int | None:
    """Measure in a new process; None if the system is not Linux, whose figures this needs."""
    if not _STATUS.exists():
        return None
    done = subprocess.run([sys.executable, "-m", __spec__.name, name], check=True, capture_output=True, text=True)
    return int(done.stdout)


def _grow(name: str) -> int:
    classifier = CLASSIFIERS[name]
    with torch.inference_mode():
        torch.nn.Conv2d(3, 8, 3)(torch.zeros(1, 3, 32, 32))  # loads what the first convolution of a process loads
        before = _account("VmRSS")
        # Not `ru_maxrss`: a new process inherits the peak of the one that started it.
        classifier.build(False).eval()(torch.zeros(1, 3, classifier.size, classifier.size))
        return _account("VmHWM") - before


def _account(field: str) -> int:
    """Return the resident bytes of this process, now (VmRSS) or at its peak (VmHWM)."""
    found = re.search(rf"^{field}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) * 1024


if __name__ == "__main__":
    print(_grow(sys.argv[1]))
