"""Opens a graph with ONNX Runtime."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.common.errors import ArtifactError

Array = NDArray[np.float32]
# Inputs that are given as float32 and converted to what the graph takes.
_TYPES: dict[str, Any] = {"tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


class Session:
    """A loaded graph. Several threads may call `run` at once."""

    def __init__(self, path: Path, *, device: str = "auto", threads: int = 1) -> None:
        """device: "auto" or "cpu", which are the same so far; a call uses `threads` threads. Raises ArtifactError."""
        if device not in ("auto", "cpu"):
            raise ArtifactError(f"device {device}: graphs run on the processor only; give auto or cpu")
        import onnxruntime  # takes a while, and descriptions are read without it

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3  # errors only; its warnings are about graph optimisations
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's exceptions have no common base but Exception
            raise ArtifactError(f"{path}: ONNX Runtime cannot load it: {error}") from error
        self._path = path
        inputs = self._session.get_inputs()
        self.inputs = [item.name for item in inputs]
        self.shapes = [list(item.shape) for item in inputs]
        self._types = {item.name: _TYPES.get(item.type, np.float32) for item in inputs}
        self.whole_numbers = np.uint8 in self._types.values()
        self.outputs = [item.name for item in self._session.get_outputs()]

    def require(self, inputs: Sequence[str], outputs: Sequence[str]) -> None:
        """Raise ArtifactError unless the graph has exactly these inputs and outputs."""
        for what, found, wanted in (("inputs", self.inputs, inputs), ("outputs", self.outputs, outputs)):
            if set(found) != set(wanted):
                raise ArtifactError(f"{self._path}: its {what} are {sorted(found)}, not {sorted(wanted)}")

    def run(self, inputs: Mapping[str, NDArray[Any]], options: Any = None) -> dict[str, NDArray[Any]]:
        """Return every output by its name; options: onnxruntime.RunOptions. Raises ArtifactError if the graph fails."""
        try:
            fed = {name: value.astype(self._types[name], copy=False) for name, value in inputs.items()}
            values: list[NDArray[Any]] = self._session.run(self.outputs, fed, options)
        except Exception as error:  # ONNX Runtime's exceptions have no common base but Exception
            shapes = " and ".join("x".join(map(str, value.shape)) for value in inputs.values())
            raise ArtifactError(f"{self._path.name}: the network fails on an input of {shapes}: {error}") from error
        return dict(zip(self.outputs, values, strict=True))
