from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from detector.common.errors import WeightsError
from detector.model.fast_rcnn import FastRCNN
from detector.model.trained import load_trained, save_trained
from detector.params import ModelSettings


def test_the_network_comes_back_with_its_settings_and_classes(
    network: FastRCNN, model_settings: Callable[..., ModelSettings], tmp_path: Path
) -> None:
    path = tmp_path / "new/weights.pt"
    # The file that initial weights came from is not needed any more.
    settings = model_settings(weights="gone.pth")
    save_trained(path, network, settings, ("cat", "dog", "tree"))
    loaded, model, classes = load_trained(path)
    assert model == settings and classes == ("cat", "dog", "tree")
    assert not any(module.training for module in loaded.modules())
    image, proposals = torch.randn(1, 3, 32, 64), torch.tensor([[2.0, 3, 50, 20]])
    with torch.inference_mode():
        for found, expected in zip(
            loaded.detect(image, proposals, 9), network.detect(image, proposals, 9), strict=True
        ):
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_a_missing_file_names_the_stage_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match=r"weights\.pt is missing: run the stage `train`"):
        load_trained(tmp_path / "weights.pt")


def test_a_damaged_file_names_the_stage_that_makes_it_anew(tmp_path: Path) -> None:
    path = tmp_path / "weights.pt"
    path.write_bytes(b"PK\x03\x04 half a file")
    with pytest.raises(WeightsError, match=r"weights\.pt cannot be read.*run the stage `train` again"):
        load_trained(path)
