"""Opens a graph with ONNX Runtime, on a GPU where its CUDA provider loads."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detector.common.errors import ArtifactError, DeviceError
from detector.runtime.devices import DEVICES, Device, why_not_gpu

Array = NDArray[np.float32]
# Inputs that are given as float32 and converted to what the graph takes.
_TYPES: dict[str, Any] = {"tensor(float16)": np.float16, "tensor(uint8)": np.uint8}


# Images of one call on a GPU. A processor computes each image with one thread, and is no faster with several.
_GPU_BATCH = 16
# TensorFloat-32 would change scores by more than the tolerance between processors. The heuristic choice of algorithms
# takes no time at each new input size.
_CUDA_OPTIONS = {"use_tf32": "0", "cudnn_conv_algo_search": "HEURISTIC"}


class Session:
    """A loaded graph. Several threads may call `run` at once."""

    def __init__(self, path: Path, *, device: str = "auto", threads: int = 1, batch: int | None = None) -> None:
        """device: one of DEVICES; auto: the GPU where ONNX Runtime can use one; a call uses `threads` threads of the
        processor; batch: images of one call at most, None for what suits the device.

        Raises ArtifactError if the graph does not load, and DeviceError if the device cannot be used.
        """
        if device not in DEVICES:
            raise DeviceError(f"device {device}: not one of {', '.join(DEVICES)}")
        import onnxruntime  # takes a while, and descriptions are read without it

        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.use_deterministic_compute = True
        options.log_severity_level = 3  # errors only; its warnings are about graph optimisations
        tries_gpu = device != "cpu" and "CUDAExecutionProvider" in onnxruntime.get_available_providers()
        providers: list[Any] = ["CPUExecutionProvider"]
        if tries_gpu:
            onnxruntime.preload_dlls()  # finds CUDA and cuDNN that were installed as Python packages
            providers.insert(0, ("CUDAExecutionProvider", _CUDA_OPTIONS))
        try:
            self._session = onnxruntime.InferenceSession(str(path), options, providers=providers)
        except Exception as error:  # ONNX Runtime's exceptions have no common base but Exception
            raise ArtifactError(f"{path}: ONNX Runtime cannot load it: {error}") from error
        # A provider that does not load is left out without an error.
        runs_on_gpu = "CUDAExecutionProvider" in self._session.get_providers()
        why_not = "" if runs_on_gpu or device == "cpu" else why_not_gpu(tries_gpu)
        if device == "cuda" and not runs_on_gpu:
            raise DeviceError(f"device cuda: {why_not or 'no GPU is visible here'}; correct that, or give cpu or auto")
        self.device = Device("cuda" if runs_on_gpu else "cpu", why_not)
        self._path = path
        inputs = self._session.get_inputs()
        takes_many = len(inputs[0].shape) == 4 and not isinstance(inputs[0].shape[0], int)
        self.batch = (batch or (_GPU_BATCH if runs_on_gpu else 1)) if takes_many else 1
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
