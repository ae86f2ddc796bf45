"""What all kinds share: the input's type, and outputs that nobody should trust."""

import warnings

import numpy as np
import pytest

from detector.common.errors import ArtifactError
from detector.runtime.detector import open_detector
from detector.runtime.kinds.detr import DetrDecoding
from detector.runtime.kinds.rcnn import RcnnDecoding
from detector.runtime.kinds.torchvision import TorchvisionDecoding
from detector.runtime.kinds.yolo import YoloDecoding
from detector.runtime.preprocess import Preprocessing
from tests.support.detecting import detect
from tests.support.graphs import artifact_of, assert_found, graph_of

PREPROCESSING = Preprocessing(resize="none", height=None, width=None)
PIXELS = np.full((30, 50, 3), (40, 100, 160), np.uint8)
NAN, INF = np.nan, np.inf


def yolo(tmp_path, row):
    """An artifact whose graph always gives one row: centre, size, and a probability for each of three classes."""
    graph = graph_of({"out": np.array(row, np.float32).reshape(1, 7, 1)}, [1, 3, "H", "W"])
    return artifact_of(graph, tmp_path / "model", YoloDecoding(layout="transposed"), PREPROCESSING)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.uint8])
@pytest.mark.parametrize("pad", [0, 114])
def test_the_pixels_arrive_whatever_the_type_of_the_input(tmp_path, dtype: type, pad: int) -> None:
    outputs, gains = {"out": np.zeros((1, 7, 1), np.float32)}, {"out": np.zeros((1, 7, 1), np.float32)}
    outputs["out"][0, :4, 0] = 10, 10, 10, 10
    gains["out"][0, 5, 0] = 1 / 255
    graph = graph_of(outputs, [1, 3, 40, 50], dtype=dtype, gains=gains)
    letterbox = Preprocessing(resize="letterbox", height=40, width=50, pad=pad)
    folder = artifact_of(graph, tmp_path / "model", YoloDecoding(layout="transposed"), letterbox)
    assert_found(detect(folder, PIXELS, 0.1), [(1, (100 * 30 + pad * 10) / 40 / 255, 5, 5, 15, 15)])


def test_an_input_of_whole_numbers_is_not_normalised(tmp_path) -> None:
    graph = graph_of({"out": np.zeros((1, 7, 1), np.float32)}, [1, 3, 40, 50], dtype=np.uint8)
    scaled = Preprocessing(resize="stretch", height=40, width=50, std=(255, 255, 255))
    folder = artifact_of(graph, tmp_path / "model", YoloDecoding(layout="transposed"), scaled)
    with pytest.raises(ArtifactError, match=r"its input is uint8, and model\.json normalises it"):
        open_detector(folder)


def test_an_infinite_box_is_the_whole_image(tmp_path) -> None:
    """exp() of a size overflows now and then, and a huge box would be clipped to the same."""
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert_found(detect(yolo(tmp_path, [10, 10, INF, 12, 0.9, 0, 0]), PIXELS, 0.1), [(0, 0.9, 0, 4, 50, 16)])


@pytest.mark.parametrize("row", [[NAN, 10, 8, 8, 0.9, 0, 0], [10, INF, 8, INF, 0.9, 0, 0]])
def test_a_box_that_is_not_a_number_is_an_error_if_its_score_counts(tmp_path, row: list[float]) -> None:
    folder = yolo(tmp_path, row)
    with pytest.raises(ArtifactError, match=r"an edge that is not a number"):
        detect(folder, PIXELS, 0.1)
    assert len(detect(folder, PIXELS, 0.95).scores) == 0


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([0.5, NAN, 0.1], "from nan to nan"),
        ([0.5, INF, 0.1], "from 0 to inf"),
        ([0.5, 1.01, 0.1], "from 0 to 1.01"),
        ([-2.5, -0.5, 0.1], "from -2.5 to 0.1"),  # logits
        ([-1, 3, -1], "from 0 to 3"),
    ],
)
def test_scores_that_are_no_probabilities_are_an_error(tmp_path, scores: list[float], message: str) -> None:
    with pytest.raises(ArtifactError, match=f"gives scores {message}, and probabilities are from 0 to 1"):
        detect(yolo(tmp_path, [10, 10, 8, 8, *scores]), PIXELS)


def test_a_probability_may_be_a_rounding_error_above_1(tmp_path) -> None:
    assert detect(yolo(tmp_path, [10, 10, 8, 8, 1.00001, 0, 0]), PIXELS, 0.1).scores.tolist() == [1.0]


@pytest.mark.parametrize(
    ("decoding", "outputs", "message"),
    [
        (DetrDecoding(), {"logits": (1, 5, 3), "pred_boxes": (1, 6, 4)}, "gives scores of 5 boxes, and boxes of shape"),
        (DetrDecoding(), {"logits": (1, 5, 3)}, "are not logits and boxes of a DETR"),
        (DetrDecoding(), {"logits": (1, 5, 7), "pred_boxes": (1, 5, 4)}, r"scores 7 classes, and model\.json names 3"),
        (DetrDecoding(activation="softmax"), {"logits": (1, 5, 3), "pred_boxes": (1, 5, 4)}, r"scores 2 classes"),
        (RcnnDecoding(proposals=None), {"scores": (1, 5, 3), "boxes": (5, 3, 4)}, r"boxes of shape \(3, 4\)"),
        (RcnnDecoding(proposals=None), {"scores": (5, 3), "boxes": (5, 4)}, r"boxes of shape \(5, 4\)"),
        (TorchvisionDecoding(), {"boxes": (5, 4), "scores": (5,)}, "are not boxes, labels and scores"),
        (YoloDecoding(layout="objectness"), {"logits": (1, 5, 3), "pred_boxes": (1, 5, 4)}, "scores 0 classes"),
    ],
)  # fmt: skip
def test_outputs_of_another_kind_are_an_error(tmp_path, decoding, outputs, message: str) -> None:
    name = "image" if decoding.kind == "rcnn" else "images"
    zeros = {output: np.zeros(shape, np.float32) for output, shape in outputs.items()}
    graph = graph_of(zeros, [1, 3, "H", "W"], name=name)
    with pytest.raises(ArtifactError, match=message):
        detect(artifact_of(graph, tmp_path / "model", decoding, PREPROCESSING), PIXELS)


def test_a_graph_of_another_size_is_an_error(tmp_path) -> None:
    graph = graph_of({"out": np.zeros((1, 7, 1), np.float32)}, [1, 3, 640, 640])
    folder = artifact_of(graph, tmp_path / "model", YoloDecoding(layout="transposed"), PREPROCESSING)
    with pytest.raises(ArtifactError, match="the network fails on an input of 1x3x30x50"):
        detect(folder, PIXELS)


def test_torchvision_graphs_give_labels_from_1_and_may_find_nothing(tmp_path) -> None:
    boxes, labels = np.array([[5, 6, 20, 28], [1, 2, 30, 9]], np.float32), np.array([1, 3], np.int64)
    scores = np.array([0.5, 0.75], np.float32)
    for name, count, expected in (("two", 2, [(0, 0.5, 5, 6, 20, 28), (2, 0.75, 1, 2, 30, 9)]), ("none", 0, [])):
        outputs = {"a": boxes[:count], "b": labels[:count], "c": scores[:count]}
        graph = graph_of(outputs, [3, "H", "W"])
        folder = artifact_of(graph, tmp_path / name, TorchvisionDecoding(), PREPROCESSING)
        assert_found(detect(folder, PIXELS, 0.1), expected)
        assert_found(detect(folder, PIXELS, 0.0), expected)
