"""An exported graph takes several images at once, and gives what it gives for each alone."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from detector.export.onnx_export import export_onnx
from detector.model.network import DetectionNetwork
from detector.runtime.detector import Image, open_detector
from detector.runtime.devices import Device
from detector.runtime.kinds.rcnn import ProposalSettings, RcnnDecoding
from detector.runtime.preprocess import own_preprocessing
from tests.support.detecting import same
from tests.support.graphs import artifact_of


@pytest.fixture(scope="module", params=["faster_rcnn", "cascade_rcnn"])
def exported(
    request: pytest.FixtureRequest,
    lively_network: Callable[..., DetectionNetwork],
    tmp_path_factory: pytest.TempPathFactory,
) -> Path:
    """The folder of an artifact whose graph takes a batch."""
    folder = tmp_path_factory.mktemp("exported")
    export_onnx(lively_network(name=request.param), folder / "model.onnx", 20)
    settings = {"decoding": RcnnDecoding(proposals=None), "preprocessing": own_preprocessing(64)}
    return artifact_of((folder / "model.onnx").read_bytes(), folder / "artifact", **settings, nms_threshold=0.4)


def test_a_batch_of_mixed_sizes_gives_what_each_image_gives_alone(exported: Path) -> None:
    sizes = [(64, 64), (48, 64), (64, 64), (64, 30), (48, 64), (64, 64), (1, 64)]
    noise = np.random.default_rng(0)
    images = [Image.whole(noise.integers(0, 256, (*size, 3)).astype(np.uint8)) for size in sizes]
    single, batched = (open_detector(exported, "cpu", batch=batch) for batch in (None, 3))
    assert (single.batch, batched.batch, single.device) == (1, 3, Device("cpu"))
    expected = single.detect(images, min_score=0.0).detections
    together = batched.detect(images, min_score=0.0)
    assert min(len(own.scores) for own in expected) > 3
    assert all(same(own, alone) for own, alone in zip(together.detections, expected, strict=True))
    assert list(together.seconds) == ["preprocess", "network", "postprocess"]


def test_graphs_with_given_proposals_take_one_image(
    lively_network: Callable[..., DetectionNetwork], tmp_path: Path
) -> None:
    export_onnx(lively_network(), tmp_path / "model.onnx", 20)
    search = ProposalSettings(method="sliding_window", mode="fast", max_boxes=20, batch=None)
    settings = {"decoding": RcnnDecoding(proposals=search), "preprocessing": own_preprocessing(64)}
    folder = artifact_of((tmp_path / "model.onnx").read_bytes(), tmp_path / "artifact", **settings)
    assert open_detector(folder, batch=8).batch == 1
