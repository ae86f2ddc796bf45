"""torchvision's own detectors with random weights: the exported graph finds what their eager form finds."""

import re
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch
from skimage import data
from torch import nn
from torchvision.models import detection

from detector.runtime.detector import open_detector
from detector.runtime.kinds.torchvision import TorchvisionDecoding
from detector.runtime.preprocess import Preprocessing
from tests.support.detecting import detect
from tests.support.graphs import artifact_of, assert_found, clear_threshold

CLASSES = ("background", "cat", "dog", "tree", "house", "boat")
PHOTOGRAPHS = [data.astronaut()[::3, ::2], data.coffee()[::3, ::4], data.chelsea()[::2, ::2]]
NONE = {"weights": None, "weights_backbone": None, "num_classes": len(CLASSES)}
MODELS: dict[str, Callable[[], nn.Module]] = {
    "faster_rcnn": lambda: detection.fasterrcnn_mobilenet_v3_large_320_fpn(**NONE, min_size=128, max_size=192),
    "retinanet": lambda: detection.retinanet_resnet50_fpn_v2(**NONE, min_size=96, max_size=128),
    "ssdlite": lambda: detection.ssdlite320_mobilenet_v3_large(**NONE),
}


def spread(model: nn.Module) -> nn.Module:
    """Make a new model's scores differ from place to place, as those of a trained one do.

    The statistics of batch normalisation become those of the photographs, and the weights of what scores large. Those
    of what moves boxes stay small: large ones would enlarge the rounding errors of both sides as well.
    """
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of what was seen
        elif isinstance(module, nn.Conv2d | nn.Linear) and not re.search(r"backbone|bbox|regression", name):
            nn.init.kaiming_normal_(module.weight, nonlinearity="linear")
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    with torch.no_grad():
        images, _ = model.transform([as_tensor(pixels) for pixels in PHOTOGRAPHS])
        features = list(model.backbone.train()(images.tensors).values())
        if hasattr(model, "head"):
            model.head.train()(features)
    return model.eval()


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(pixels.copy()).permute(2, 0, 1) / 255


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_a_graph_finds_what_torchvision_finds(tmp_path, name: str) -> None:
    torch.manual_seed(0)
    model = spread(MODELS[name]())
    path = tmp_path / "exported.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advertises its newer exporter; tracing warns of constants
        torch.onnx.export(
            model, ([torch.rand(3, 120, 160)],), str(path), dynamo=False, opset_version=17, input_names=["image"],
            output_names=["boxes", "labels", "scores"] if name == "faster_rcnn" else ["boxes", "scores", "labels"],
            dynamic_axes={
                "image": {1: "height", 2: "width"}, "boxes": {0: "n"}, "labels": {0: "n"}, "scores": {0: "n"},
            },
        )  # fmt: skip
    preprocessing = Preprocessing(resize="none", height=None, width=None, std=(255, 255, 255))
    folder = artifact_of(
        path.read_bytes(), tmp_path / "model", TorchvisionDecoding(first_label=0), preprocessing, classes=CLASSES
    )
    detector = open_detector(folder)
    for pixels in PHOTOGRAPHS:
        with torch.no_grad():
            (found,) = model([as_tensor(pixels)])
        sides = found["boxes"][:, 2:] - found["boxes"][:, :2]
        thick = sides.amin(dim=1) >= 1  # as boxes of a record are
        least = clear_threshold(found["scores"][thick].tolist(), 20, 60)
        kept = thick & (found["scores"] >= least)
        labels, scores, boxes = (found[key][kept].tolist() for key in ("labels", "scores", "boxes"))
        expected = [(label, score, *box) for label, score, box in zip(labels, scores, boxes, strict=True)]
        assert 20 <= len(expected) <= 60 and len(set(labels)) > 1
        assert_found(detect(detector, pixels, least), expected, pixels=0.1, score=1e-3)
