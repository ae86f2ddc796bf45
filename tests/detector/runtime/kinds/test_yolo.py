"""The layouts of Ultralytics' exports, with graphs whose boxes are known."""

import numpy as np
import pytest

from detector.common.errors import ArtifactError
from detector.runtime.kinds.yolo import YoloDecoding
from detector.runtime.preprocess import Preprocessing
from tests.support.detecting import detect
from tests.support.graphs import Row, artifact_of, assert_found, graph_of

# An image of 50 x 90 becomes 53 x 96 pixels of the input, with 5 rows of padding above it and 6 below.
PREPROCESSING = Preprocessing(resize="letterbox", height=64, width=96, pad=114, place="centre", rounding="down")
PIXELS = np.zeros((50, 90, 3), np.uint8)
# Centre, size, objectness, and a probability for each of three classes.
ROWS = np.array(
    [
        [30, 25, 20, 10, 0.9, 0.8, 0.1, 0.3],
        [70, 40, 12, 30, 0.5, 0.2, 0.9, 0.6],
        [48, 32, 200, 99, 1.0, 0.0, 0.0, 0.7],  # larger than the image
        [20, 20, 30, 30, 0.0, 0.9, 0.9, 0.9],
        [60, 30, 0.5, 30, 0.9, 0.9, 0.1, 0.1],  # half a pixel wide
    ],
    np.float32,
)


def expected(least: float, has_objectness: bool) -> list[Row]:
    """The detections in the frame of the image, box by box and class by class."""
    found = []
    for x, y, width, height, objectness, *classes in ROWS.tolist():
        sides = [
            max(0.0, (x - width / 2) * 90 / 96), max(0.0, (y - height / 2 - 5) * 50 / 53),
            min(90.0, (x + width / 2) * 90 / 96), min(50.0, (y + height / 2 - 5) * 50 / 53),
        ]  # fmt: skip
        for label, probability in enumerate(classes):
            score = probability * objectness if has_objectness else probability
            if score >= least and sides[2] - sides[0] >= 1:
                found.append((label, score, *sides))
    return found


@pytest.mark.parametrize("dtype", [np.float32, np.float16])
def test_objectness_times_probability_is_the_score(tmp_path, dtype: type) -> None:
    graph = graph_of({"output0": ROWS[None].astype(dtype)}, [1, 3, 64, 96], dtype=dtype)
    folder = artifact_of(graph, tmp_path / "model", YoloDecoding(layout="objectness"), PREPROCESSING)
    rows = expected(0.1, has_objectness=True)
    assert len(rows) == 6
    assert_found(detect(folder, PIXELS, 0.1), rows, score=1e-4 if dtype is np.float32 else 1e-3)


def test_the_transposed_layout_has_no_objectness(tmp_path) -> None:
    output = np.delete(ROWS, 4, axis=1).T[None]
    assert output.shape == (1, 7, 5)
    graph = graph_of({"output0": output}, [1, 3, 64, 96])
    folder = artifact_of(graph, tmp_path / "model", YoloDecoding(layout="transposed"), PREPROCESSING)
    assert_found(detect(folder, PIXELS, 0.15), expected(0.15, has_objectness=False))


def test_the_end_to_end_layout_names_one_label_a_box(tmp_path) -> None:
    output = np.array(
        [[[10, 15, 40, 40, 0.9, 1], [50, 10, 90, 50, 0.6, 0], [0, 0, 0, 0, 0, 0], [0, 0, 0, 0, 0, -1]]], np.float32
    )
    graph = graph_of({"output0": output}, [1, 3, 64, 96])
    folder = artifact_of(graph, tmp_path / "model", YoloDecoding(layout="end_to_end"), PREPROCESSING)
    x, y = 90 / 96, 50 / 53
    rows = [(1, 0.9, 10 * x, 10 * y, 40 * x, 35 * y), (0, 0.6, 50 * x, 5 * y, 90 * x, 45 * y)]
    assert_found(detect(folder, PIXELS, 0.25), rows)
    assert_found(detect(folder, PIXELS, 0.0), rows)  # a label that is not given is not a label with score 0


def test_boxes_of_one_label_suppress_each_other_if_the_artifact_says_so(tmp_path) -> None:
    output = np.array([[[10, 10, 50, 50, 0.9, 1], [11, 10, 50, 50, 0.8, 1], [11, 10, 50, 50, 0.7, 0]]], np.float32)
    graph, decoding = graph_of({"output0": output}, [1, 3, 64, 96]), YoloDecoding(layout="end_to_end")
    for threshold, scores in ((None, [0.9, 0.8, 0.7]), (0.5, [0.9, 0.7])):
        folder = artifact_of(graph, tmp_path / str(threshold), decoding, PREPROCESSING, nms_threshold=threshold)
        assert detect(folder, PIXELS, 0.1).scores.tolist() == scores


def test_classes_without_a_name_are_dropped_before_suppression(tmp_path) -> None:
    graph = graph_of({"output0": ROWS[None]}, [1, 3, 64, 96])
    folder = artifact_of(
        graph, tmp_path / "model", YoloDecoding(layout="objectness"), PREPROCESSING,
        classes=("dog", "cat"), graph_classes=("cat", None, "dog"), max_detections=2,
    )  # fmt: skip
    renamed = {0: 1, 2: 0}
    rows = sorted(((renamed[row[0]], *row[1:]) for row in expected(0.1, True) if row[0] != 1), key=lambda row: -row[1])
    assert_found(detect(folder, PIXELS, 0.1), rows[:2])


@pytest.mark.parametrize("layout", ["objectness", "transposed", "end_to_end"])
def test_a_graph_that_finds_nothing_gives_no_detections(tmp_path, layout: str) -> None:
    shape = {"objectness": (1, 0, 8), "transposed": (1, 7, 0), "end_to_end": (1, 0, 6)}[layout]
    graph = graph_of({"output0": np.zeros(shape, np.float32)}, [1, 3, 64, 96])
    folder = artifact_of(graph, tmp_path / "model", YoloDecoding(layout=layout), PREPROCESSING)
    assert detect(folder, PIXELS, 0.0).boxes.shape == (0, 4)


@pytest.mark.parametrize("layout", ["objectness", "transposed", "end_to_end"])
def test_a_graph_may_take_one_image_without_the_axis_of_the_batch(tmp_path, layout: str) -> None:
    output = {
        "objectness": ROWS,
        "transposed": np.delete(ROWS, 4, axis=1).T,
        "end_to_end": np.array([[10, 15, 40, 40, 0.9, 1]], np.float32),
    }[layout]
    with_axis, without = (
        detect(
            artifact_of(graph_of({"out": value}, shape), tmp_path / name, YoloDecoding(layout=layout), PREPROCESSING),
            PIXELS,
            0.1,
        )
        for name, value, shape in (("with", output[None], [1, 3, 64, 96]), ("without", output, [3, 64, 96]))
    )
    assert len(with_axis.scores) and np.array_equal(with_axis.boxes, without.boxes)
    assert np.array_equal(with_axis.scores, without.scores)


@pytest.mark.parametrize("label", [3, 90, np.nan])
def test_a_label_that_the_artifact_does_not_name_is_an_error(tmp_path, label: float) -> None:
    output = np.array([[[10, 15, 40, 40, 0.9, label]]], np.float32)
    graph = graph_of({"output0": output}, [1, 3, 64, 96])
    folder = artifact_of(graph, tmp_path / "model", YoloDecoding(layout="end_to_end"), PREPROCESSING)
    with pytest.raises(ArtifactError, match=rf"gives label {label:g}, and model\.json names 3 classes"):
        detect(folder, PIXELS)


@pytest.mark.parametrize(
    ("layout", "shape", "message"),
    [
        ("objectness", (1, 7, 8400), r"scores 8395 classes, and model\.json names 3"),
        ("transposed", (1, 8400, 8), r"scores 8396 classes, and model\.json names 3"),
        ("objectness", (1, 8400, 85), r"scores 80 classes, and model\.json names 3"),
        ("end_to_end", (1, 8, 5), r"outputs \(1x8x5\) are not what `yolo` reads"),
        ("objectness", (1, 3, 8, 8, 8), r"outputs \(1x3x8x8x8\) are not what `yolo` reads"),
        ("objectness", (2, 9, 8), r"outputs \(2x9x8\) are not what `yolo` reads"),
    ],
)  # fmt: skip
def test_another_layout_is_an_error(tmp_path, layout: str, shape: tuple[int, ...], message: str) -> None:
    graph = graph_of({"output0": np.zeros(shape, np.float32)}, [1, 3, 64, 96])
    folder = artifact_of(graph, tmp_path / "model", YoloDecoding(layout=layout), PREPROCESSING)
    with pytest.raises(ArtifactError, match=message):
        detect(folder, PIXELS)
