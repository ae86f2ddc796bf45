"""A machine with a GPU is imitated: ONNX Runtime says that it has the provider, and loads it or does not."""

from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from detector.common.errors import DeviceError
from detector.runtime import devices
from detector.runtime.devices import Device, may_use_gpu
from detector.runtime.session import Session

REAL = onnxruntime.InferenceSession


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """(driver, provider, loads) -> a machine with the driver, an ONNX Runtime with the provider that loads."""

    def imitate(driver: bool, provider: bool, loads: bool) -> list[Any]:
        opened: list[Any] = []

        class Imitated:
            def __init__(self, path: str, options: Any, providers: list[Any]) -> None:
                opened.append(providers)
                self._real = REAL(path, options, providers=["CPUExecutionProvider"])
                names = [one if isinstance(one, str) else one[0] for one in providers]
                self._names = names if loads else names[-1:]

            def get_providers(self) -> list[str]:
                return self._names

            def __getattr__(self, name: str) -> Any:
                return getattr(self._real, name)

        (tmp_path / "version").touch()
        monkeypatch.setattr(devices, "_DRIVER", tmp_path / "version" if driver else tmp_path / "none")
        names = ["CUDAExecutionProvider"] * provider + ["CPUExecutionProvider"]
        monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: names)
        monkeypatch.setattr(onnxruntime, "preload_dlls", lambda: None, raising=False)
        monkeypatch.setattr(onnxruntime, "InferenceSession", Imitated)
        return opened

    return imitate


@pytest.fixture
def graph(artifact: Path) -> Path:
    return artifact / "model.onnx"


def test_the_gpu_is_used_where_the_provider_loads(machine: Any, graph: Path) -> None:
    opened = machine(driver=True, provider=True, loads=True)
    for device in ("auto", "cuda"):
        assert Session(graph, device=device).device == Device("cuda") and may_use_gpu(device)
    assert [providers[0][0] for providers in opened] == ["CUDAExecutionProvider"] * 2
    assert Session(graph, device="cpu").device == Device("cpu") and not may_use_gpu("cpu")
    assert opened[-1] == ["CPUExecutionProvider"]


@pytest.mark.parametrize(
    ("provider", "reason"), [(True, "CUDA provider of ONNX Runtime does not load"), (False, "has no CUDA provider")]
)
def test_a_gpu_that_cannot_be_used_is_named(machine: Any, graph: Path, provider: bool, reason: str) -> None:
    machine(driver=True, provider=provider, loads=False)
    device = Session(graph).device
    assert device.kind == "cpu" and reason in device.why_not_gpu
    assert may_use_gpu("auto") == provider
    with pytest.raises(DeviceError, match=reason):
        Session(graph, device="cuda")


@pytest.mark.parametrize("provider", [True, False])
def test_a_machine_without_a_gpu_needs_no_word(machine: Any, graph: Path, provider: bool) -> None:
    machine(driver=False, provider=provider, loads=False)
    assert Session(graph).device == Device("cpu") and not may_use_gpu("auto")
    with pytest.raises(DeviceError, match="device cuda: no GPU is visible here"):
        Session(graph, device="cuda")
