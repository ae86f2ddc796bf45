from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from detector.common.errors import WeightsError
from detector.model.fast_rcnn import FastRCNN
from detector.model.trained import load_trained, save_trained
from detector.model.weights_file import Making, load_making, save_half
from detector.params import ModelSettings

CLASSES = ("cat", "dog", "tree")


@pytest.fixture
def making(model_settings: Callable[..., ModelSettings]) -> Making:
    # The file that initial weights came from is not needed any more.
    model = model_settings(start_from="gone.pth").model_dump(mode="json")
    return Making({"model": model, "fetch": {"seed": 1}}, CLASSES, "bf16")


@pytest.mark.parametrize("half", [False, True])
def test_the_network_comes_back_with_its_making(network: FastRCNN, making: Making, tmp_path: Path, half: bool) -> None:
    path = tmp_path / "new/weights.safetensors"
    save_trained(path, network, making)
    if half:
        save_half(path, path)
    loaded, found = load_trained(path)
    assert found == making == load_making(path)
    assert not any(module.training for module in loaded.modules())
    assert all(value.dtype == torch.float32 for value in loaded.parameters())
    image, proposals = torch.randn(1, 3, 32, 64), torch.tensor([[2.0, 3, 50, 20]])
    with torch.inference_mode():
        for ours, expected in zip(loaded.detect(image, proposals, 9), network.detect(image, proposals, 9), strict=True):
            torch.testing.assert_close(ours, expected, rtol=1e-4, atol=0.1 if half else 1e-4)


def test_halves_take_half_the_bytes_and_equal_networks_give_equal_files(
    network: FastRCNN, making: Making, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        save_trained(tmp_path / name, network, making)
    save_half(tmp_path / "half", tmp_path / "a")
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    assert (tmp_path / "half").stat().st_size < 0.6 * (tmp_path / "a").stat().st_size


def test_a_missing_file_names_the_stage_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"weights\.safetensors is missing: run the stage `train`"):
        load_trained(tmp_path / "weights.safetensors")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file", b"\x02" + b"\0" * 7 + b"{}"])
def test_a_damaged_file_names_the_stage_that_makes_it_anew(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "weights.safetensors"
    path.write_bytes(content)
    with pytest.raises(WeightsError, match=r"weights\.safetensors cannot be read.*run the stage `train` again"):
        load_trained(path)


def test_weights_of_another_network_are_refused(network: FastRCNN, making: Making, tmp_path: Path) -> None:
    path = tmp_path / "weights.safetensors"
    save_trained(path, network, Making(making.settings, (*CLASSES, "bird")))
    with pytest.raises(WeightsError, match=r"does not hold this network.*run the stage `train` again"):
        load_trained(path)
