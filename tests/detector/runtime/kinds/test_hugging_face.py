"""Hugging Face's DETRs, small and with random weights, against their own post-processing."""

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from skimage import data
from torch import nn

from detector.runtime.detector import open_detector
from detector.runtime.kinds.detr import DetrDecoding
from detector.runtime.preprocess import Preprocessing, prepare
from tests.support.detecting import detect
from tests.support.graphs import artifact_of, assert_found, clear_threshold

transformers = pytest.importorskip("transformers", reason="transformers is not installed: the extra dev has it")

CLASSES = ("cat", "dog", "tree", "house")
HEIGHT, WIDTH, QUERIES = 96, 160, 30
PHOTOGRAPHS = [data.astronaut()[::3, ::2], data.coffee()[::3, ::4], data.chelsea()[::2, ::2]]
PREPROCESSING = Preprocessing(resize="stretch", height=HEIGHT, width=WIDTH, std=(255, 255, 255))


def rt_detr() -> nn.Module:
    backbone = transformers.RTDetrResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 64, 64], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.RTDetrConfig(backbone_config=backbone, **_small([32, 64, 64]), num_labels=len(CLASSES))
    return transformers.RTDetrForObjectDetection(config)


def d_fine() -> nn.Module:
    backbone = transformers.HGNetV2Config(
        embedding_size=16, stem_channels=[3, 16, 16], hidden_sizes=[16, 32, 64, 64], depths=[1, 1, 1, 1],
        stage_in_channels=[16, 16, 32, 64], stage_mid_channels=[16, 16, 16, 16], stage_out_channels=[16, 32, 64, 64],
        stage_num_blocks=[1, 1, 1, 1], stage_numb_of_layers=[2, 2, 2, 2],
        out_features=["stage2", "stage3", "stage4"],
    )  # fmt: skip
    config = transformers.DFineConfig(backbone_config=backbone, **_small([32, 64, 64]), num_labels=len(CLASSES))
    return transformers.DFineForObjectDetection(config)


def _small(channels: list[int]) -> dict[str, Any]:
    return {
        "d_model": 32, "encoder_hidden_dim": 32, "encoder_in_channels": channels, "encoder_ffn_dim": 64,
        "decoder_in_channels": [32, 32, 32], "decoder_ffn_dim": 64, "decoder_layers": 2, "encoder_attention_heads": 4,
        "decoder_attention_heads": 4, "num_queries": QUERIES, "use_pretrained_backbone": False,
        "freeze_backbone_batch_norms": False,
    }  # fmt: skip


def detr() -> nn.Module:
    backbone = transformers.ResNetConfig(
        embedding_size=16, hidden_sizes=[16, 32, 64, 64], depths=[1, 1, 1, 1], layer_type="basic",
        out_features=["stage4"],
    )  # fmt: skip
    config = transformers.DetrConfig(
        use_timm_backbone=False, use_pretrained_backbone=False, backbone=None, backbone_config=backbone, d_model=32,
        encoder_layers=1, decoder_layers=2, encoder_ffn_dim=64, decoder_ffn_dim=64, encoder_attention_heads=4,
        decoder_attention_heads=4, num_queries=QUERIES, num_labels=len(CLASSES),
    )  # fmt: skip
    return transformers.DetrForObjectDetection(config)


class Exported(nn.Module):
    """What the tools that export these models leave: an image goes in, logits and boxes come out."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        found = self.model(pixel_values=pixels)
        return found.logits, found.pred_boxes


def spread(model: nn.Module) -> nn.Module:
    """Make a new model's scores and boxes differ from query to query, as those of a trained one do.

    The statistics of batch normalisation become those of the photographs.
    """
    for name, parameter in model.named_parameters():
        if parameter.dim() == 4:
            nn.init.kaiming_normal_(parameter)
        elif "class" in name or "score_head" in name or "query_position" in name:
            nn.init.normal_(parameter, std=0.5)
        elif parameter.dim() == 2:
            nn.init.xavier_normal_(parameter)
    if hasattr(model, "class_labels_classifier"):
        nn.init.constant_(model.class_labels_classifier.bias[-1:], -4.0)  # that there is no object
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None  # the mean of what was seen
    with torch.no_grad():
        model.train()(pixel_values=torch.cat([as_tensor(pixels) for pixels in PHOTOGRAPHS]))
    return model.eval()


def as_tensor(pixels: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(prepare(PREPROCESSING, pixels, *pixels.shape[:2]).tensor)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "processor", "activation"),
    [
        (rt_detr, transformers.RTDetrImageProcessor, "sigmoid"),
        (d_fine, transformers.RTDetrImageProcessor, "sigmoid"),
        (detr, transformers.DetrImageProcessor, "softmax"),
    ],
)
def test_a_graph_finds_what_hugging_face_finds(
    tmp_path, make: Callable[[], nn.Module], processor: type, activation: str
) -> None:
    torch.manual_seed(0)
    model = spread(make())
    path = tmp_path / "exported.onnx"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch advertises its newer exporter; tracing warns of constants
        torch.onnx.export(
            Exported(model).eval(), (torch.rand(1, 3, HEIGHT, WIDTH),), str(path), dynamo=False, opset_version=17,
            input_names=["pixel_values"], output_names=["logits", "pred_boxes"],
        )  # fmt: skip
    folder = artifact_of(
        path.read_bytes(), tmp_path / "model", DetrDecoding(activation=activation), PREPROCESSING,
        classes=CLASSES, max_detections=QUERIES,
    )  # fmt: skip
    detector = open_detector(folder)
    for pixels in PHOTOGRAPHS:
        height, width = pixels.shape[:2]
        with torch.no_grad():
            output = model(pixel_values=as_tensor(pixels))
        (found,) = processor().post_process_object_detection(
            output, threshold=0.0, target_sizes=torch.tensor([[height, width]])
        )
        rows = zip(*(found[name].tolist() for name in ("labels", "scores", "boxes")), strict=True)
        inside = [(label, score, *np.clip(box, 0, [width, height] * 2).tolist()) for label, score, box in rows]
        thick = [row for row in inside if row[4] - row[2] >= 1 and row[5] - row[3] >= 1]  # as boxes of a record are
        least = clear_threshold([row[1] for row in thick], 10, 25)
        expected = [row for row in thick if row[1] >= least]
        assert len(expected) >= 10
        assert_found(detect(detector, pixels, least), expected, pixels=0.1, score=1e-3)
