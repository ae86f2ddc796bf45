"""Small networks with random weights, and a small training set on disk."""

import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
from PIL import Image

from detector.data.annotations import CocoDataset
from detector.export import onnx_export
from detector.model.family import build
from detector.model.fast_rcnn import FastRCNN
from detector.model.network import DetectionNetwork
from detector.params import ModelSettings, TrainSettings
from detector.proposals.store import Proposals
from tests.support.datasets import image_info

CLASSES = ("cat", "dog", "tree")


def _model_settings(**changes: object) -> ModelSettings:
    values = {
        "name": "fast_rcnn", "backbone": "efficientnet_lite0", "start_from": "none", "start_sha256": None,
        "image_size": 64, "crop_size": 32, "head": "softmax", "pyramid_channels": 8, "hidden": 16, "dropout": 0.0,
    }  # fmt: skip
    return ModelSettings.model_validate(values | changes)


def _train_settings(**changes: object) -> TrainSettings:
    values = {
        "seed": 3, "device": "cpu", "precision": "fp32", "epochs": 2, "batch_size": 2,
        "image_sizes": [64], "learning_rate": 0.005, "backbone_rate": 0.3, "weight_decay": 0.01, "average": 0.9,
        "frozen_blocks": 1, "proposals": 20, "regions": 16, "box_weight": 1.0,
    }  # fmt: skip
    return TrainSettings.model_validate(values | changes)


@pytest.fixture(scope="session")
def model_settings() -> Callable[..., ModelSettings]:
    return _model_settings


@pytest.fixture(scope="session")
def train_settings() -> Callable[..., TrainSettings]:
    return _train_settings


@pytest.fixture(scope="session")
def new_network() -> Callable[..., DetectionNetwork]:
    """(seed, settings...) -> an untrained network for three classes, in training mode."""

    def make(seed: int = 0, **changes: object) -> DetectionNetwork:
        torch.manual_seed(seed)
        return build(_model_settings(**changes), len(CLASSES))

    return make


# The names of a network's last layers. Untrained, they give the same output for every box.
_LAST = ("classes", "deltas", "margins", "box", "cls_logits", "bbox_pred")


@pytest.fixture(scope="session")
def lively_network(new_network: Callable[..., DetectionNetwork]) -> Callable[..., DetectionNetwork]:
    """(settings...) -> one in evaluation mode, with outputs that differ from box to box and class to class."""

    def make(**changes: object) -> DetectionNetwork:
        made = new_network(**changes)
        generator = torch.Generator().manual_seed(1)
        for module in made.backbone.modules():
            if hasattr(module, "running_var"):  # as if pre-trained: no two channels alike, activations of size 1
                module.running_mean.normal_(0, 0.1, generator=generator)
                module.weight.data.uniform_(0.8, 1.6, generator=generator)
                module.bias.data.normal_(0, 0.3, generator=generator)
        for name, layer in made.named_modules():
            if name.split(".")[-1] in _LAST:
                layer.weight.data.normal_(0, 2 / layer.weight[0].numel() ** 0.5, generator=generator)
        if getattr(made, "svm", None) is not None:
            made.svm.margins.bias.data.zero_()
        return made.eval()

    return make


@pytest.fixture(scope="session")
def network(lively_network: Callable[..., DetectionNetwork]) -> FastRCNN:
    """Fast R-CNN; not to be changed."""
    return lively_network()


@pytest.fixture(scope="session")
def exact_session() -> Callable[..., onnxruntime.InferenceSession]:
    """(network, max_proposals) -> its exported graph, without the rounding of stored weights."""

    def make(network: DetectionNetwork, max_proposals: int = 50) -> onnxruntime.InferenceSession:
        with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
            patch.setattr(onnx_export, "store_in_half", lambda model: model)
            onnx_export.export_onnx(network, Path(folder, "model.onnx"), max_proposals)
            return onnxruntime.InferenceSession(
                Path(folder, "model.onnx").read_bytes(), providers=["CPUExecutionProvider"]
            )

    return make


@pytest.fixture(scope="session")
def random_boxes() -> Callable[..., torch.Tensor]:
    """(count, height, width, seed) -> float32 (count, 4) xyxy inside the image, of all sizes."""

    def make(count: int, height: int, width: int, seed: int = 0) -> torch.Tensor:
        generator = torch.Generator().manual_seed(seed)
        low, high = torch.rand(2, count, 2, generator=generator).sort(dim=0).values
        limit = torch.tensor([width, height], dtype=torch.float32)
        return torch.cat([low * limit, torch.maximum(high * limit, low * limit + 1)], dim=1)

    return make


@pytest.fixture(scope="session")
def training_set(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CocoDataset, Proposals]:
    """Five images: a coloured object on grey in three of them, none in the fourth, and the fifth has no proposals."""
    folder = tmp_path_factory.mktemp("pictures")
    colours = [(250, 30, 30), (30, 250, 30), (30, 30, 250)]
    images, boxes = [], []
    for number in range(1, 6):
        width, height = (64, 44) if number % 2 else (44, 64)
        label = number % 3
        object_box = [6.0 + 2 * number, 8, 30.0 + 2 * number, 34]
        has_object = number != 4
        rng = np.random.default_rng(number)
        pixels = (rng.integers(90, 140, (height, width, 1)) * np.ones(3)).astype(np.uint8)
        if has_object:
            x1, y1, x2, y2 = map(int, object_box)
            pixels[y1:y2, x1:x2] = colours[label]
        Image.fromarray(pixels).save(folder / f"{number}.png")
        images.append(image_info(number, [object_box] if has_object else [], label, size=(width, height)))
        low = rng.uniform(0, 25, (8, 2))
        found = np.concatenate([low, low + rng.uniform(8, 18, (8, 2))], axis=1)
        near = np.array([object_box]) + rng.uniform(-2, 2, (4, 4))
        boxes.append(np.concatenate([near, found]).astype(np.float32)[: 0 if number == 5 else None])
    starts = np.cumsum([0, *map(len, boxes)])
    return folder, CocoDataset(CLASSES, tuple(images)), Proposals(np.concatenate(boxes), starts)
