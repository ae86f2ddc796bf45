"""Kinds with a row for each cell of a grid, against loops that compute one number at a time."""

import math
from collections.abc import Iterator

import numpy as np
import pytest

from detector.common.errors import ArtifactError
from detector.runtime.kinds.dfl import DflDecoding
from detector.runtime.kinds.fastestdet import FastestDetDecoding
from detector.runtime.kinds.yolox import YoloxDecoding
from detector.runtime.preprocess import Preprocessing
from tests.support.detecting import detect
from tests.support.graphs import CLASSES, Row, artifact_of, assert_found, graph_of

HEIGHT, WIDTH = 64, 96  # of the input
PIXELS = np.zeros((80, 48, 3), np.uint8)
STRETCH = Preprocessing(resize="stretch", height=HEIGHT, width=WIDTH)
# The image becomes 64 x 38 pixels, between 29 columns of padding on each side.
LETTERBOX = Preprocessing(resize="letterbox", height=HEIGHT, width=WIDTH, place="centre", rounding="down")
LEAST = 0.2


def cells(strides: tuple[int, ...], height: int = HEIGHT, width: int = WIDTH) -> Iterator[tuple[int, int, int]]:
    """Every cell as (column, row, stride)."""
    for stride in strides:
        for row in range(math.ceil(height / stride)):
            for column in range(math.ceil(width / stride)):
                yield column, row, stride


def in_image(label: int, score: float, box: tuple[float, ...], preprocessing: Preprocessing) -> list[Row]:
    """A detection from pixels of the input to those of the image, or nothing if too little is left of it."""
    scale_x, scale_y, left = (WIDTH / 48, HEIGHT / 80, 0) if preprocessing is STRETCH else (38 / 48, HEIGHT / 80, 29)
    x1, x2 = (min(48.0, max(0.0, round((edge - left) / scale_x * 16) / 16)) for edge in (box[0], box[2]))
    y1, y2 = (min(80.0, max(0.0, round(edge / scale_y * 16) / 16)) for edge in (box[1], box[3]))
    enough = round(score, 4) >= LEAST and x2 - x1 >= 1 and y2 - y1 >= 1
    return [(label, score, x1, y1, x2, y2)] if enough else []


def rows_of(count: int, columns: int) -> np.ndarray:
    """Random rows for the cells, float32 (count, columns); probabilities stand from column 4 on."""
    rows = np.random.default_rng(count).normal(0, 0.8, (count, columns)).astype(np.float32)
    rows[:, 4:] = 1 / (1 + np.exp(-rows[:, 4:]))
    return rows


@pytest.mark.parametrize("preprocessing", [STRETCH, LETTERBOX], ids=["stretch", "letterbox"])
def test_yolox_gives_offsets_in_cells(tmp_path, preprocessing: Preprocessing) -> None:
    places = list(cells((8, 16, 32)))
    rows = rows_of(len(places), 5 + len(CLASSES))
    graph = graph_of({"output": rows[None]}, [1, 3, HEIGHT, WIDTH])
    folder = artifact_of(graph, tmp_path / "model", YoloxDecoding(), preprocessing)
    expected = []
    for (column, row, stride), (x, y, w, h, objectness, *classes) in zip(places, rows.tolist(), strict=True):
        centre_x, centre_y = (x + column) * stride, (y + row) * stride
        half_x, half_y = math.exp(w) * stride / 2, math.exp(h) * stride / 2
        box = (centre_x - half_x, centre_y - half_y, centre_x + half_x, centre_y + half_y)
        for label, probability in enumerate(classes):
            expected += in_image(label, objectness * probability, box, preprocessing)
    assert len(expected) > 50
    assert_found(detect(folder, PIXELS, LEAST), expected)


def test_yolox_may_be_decoded_in_the_graph(tmp_path) -> None:
    rows = np.array([[30, 20, 10, 16, 0.5, 0.2, 0.9, 0.1], [50, 40, 90, 20, 1.0, 0.3, 0.1, 0.1]], np.float32)
    graph = graph_of({"output": rows[None]}, [1, 3, HEIGHT, WIDTH])
    folder = artifact_of(graph, tmp_path / "model", YoloxDecoding(decoded=True), STRETCH)
    expected = in_image(1, 0.45, (25, 12, 35, 28), STRETCH) + in_image(0, 0.3, (5, 30, 95, 50), STRETCH)
    assert len(expected) == 2
    assert_found(detect(folder, PIXELS, LEAST), expected)


def dfl_rows(places: list[tuple[int, int, int]], scores: np.ndarray, logits: np.ndarray, cell: float, shift: float):
    """The boxes of a graph with four distributions a cell, number by number."""
    expected = []
    bins = logits.shape[1] // 4
    for (column, row, stride), probabilities, values in zip(places, scores.tolist(), logits.tolist(), strict=True):
        sides = []
        for side in range(4):
            weights = [math.exp(value) for value in values[side * bins : (side + 1) * bins]]
            sides.append(stride * sum(number * weight for number, weight in enumerate(weights)) / sum(weights))
        x, y = (column + cell) * stride + shift, (row + cell) * stride + shift
        box = (x - sides[0], y - sides[1], x + sides[2], y + sides[3])
        for label, probability in enumerate(probabilities):
            expected += in_image(label, probability, box, STRETCH)
    return expected


@pytest.mark.parametrize("order", ["scores first", "in turns", "coarse first"])
@pytest.mark.parametrize("axes", [2, 3])
def test_dfl_with_maps_of_each_stride(tmp_path, order: str, axes: int) -> None:
    strides, bins = (8, 16, 32, 64), 8
    places = list(cells(strides))
    random = np.random.default_rng(0)
    scores = random.random((len(places), 3)).astype(np.float32)
    logits = random.normal(0, 1.5, (len(places), 4 * bins)).astype(np.float32)
    maps: dict[str, np.ndarray] = {}
    for stride in strides:
        chosen = [place[2] == stride for place in places]
        maps |= {f"scores {stride}": scores[chosen], f"logits {stride}": logits[chosen]}
    if order == "scores first":
        maps = {name: maps[name] for name in sorted(maps, key=lambda name: name.startswith("logits"))}
    if order == "coarse first":
        maps = dict(reversed(maps.items()))
    outputs = {name: value if axes == 2 else value[None] for name, value in maps.items()}
    graph = graph_of(outputs, [1, 3, HEIGHT, WIDTH])
    folder = artifact_of(graph, tmp_path / "model", DflDecoding(strides=strides, shift=-0.5), STRETCH)
    assert_found(detect(folder, PIXELS, LEAST), dfl_rows(places, scores, logits, 0.5, -0.5))


def test_dfl_with_one_map_and_other_bins_and_places(tmp_path) -> None:
    places = list(cells((16, 32)))
    random = np.random.default_rng(1)
    scores = random.random((len(places), 3)).astype(np.float32)
    logits = random.normal(0, 1.5, (len(places), 4 * 5)).astype(np.float32)
    graph = graph_of({"output": np.concatenate([scores, logits], axis=1)[None]}, [1, 3, HEIGHT, WIDTH])
    folder = artifact_of(graph, tmp_path / "model", DflDecoding(strides=(16, 32), bins=5, cell=0.0), STRETCH)
    assert_found(detect(folder, PIXELS, LEAST), dfl_rows(places, scores, logits, 0.0, 0.0))


def test_large_logits_do_not_overflow(tmp_path) -> None:
    """A distribution that is sure of its third bin, by any distance."""
    places = list(cells((32,)))
    logits = np.zeros((len(places), 4, 8), np.float32)
    logits[..., 2] = 500
    scores = np.zeros((len(places), 3), np.float32)
    scores[0, 0] = 0.9
    graph = graph_of({"scores": scores, "logits": logits.reshape(-1, 32)}, [1, 3, HEIGHT, WIDTH])
    folder = artifact_of(graph, tmp_path / "model", DflDecoding(strides=(32,)), STRETCH)
    assert_found(detect(folder, PIXELS, LEAST), in_image(0, 0.9, (-48, -48, 80, 80), STRETCH))


@pytest.mark.parametrize("preprocessing", [STRETCH, LETTERBOX], ids=["stretch", "letterbox"])
def test_fastestdet_has_one_map(tmp_path, preprocessing: Preprocessing) -> None:
    rows, columns = 4, 6
    output = np.random.default_rng(2).normal(0, 1, (8, rows, columns)).astype(np.float32)
    output[0], output[5:] = 1 / (1 + np.exp(-output[0])), 1 / (1 + np.exp(-output[5:]))
    graph = graph_of({"output": output[None]}, [1, 3, HEIGHT, WIDTH])
    folder = artifact_of(graph, tmp_path / "model", FastestDetDecoding(), preprocessing)
    expected = []
    for row in range(rows):
        for column in range(columns):
            objectness, x, y, w, h, *classes = output[:, row, column].tolist()
            centre_x, centre_y = (column + math.tanh(x)) / columns * WIDTH, (row + math.tanh(y)) / rows * HEIGHT
            half_x, half_y = WIDTH / (1 + math.exp(-w)) / 2, HEIGHT / (1 + math.exp(-h)) / 2
            box = (centre_x - half_x, centre_y - half_y, centre_x + half_x, centre_y + half_y)
            for label, probability in enumerate(classes):
                expected += in_image(label, objectness**0.6 * probability**0.4, box, preprocessing)
    assert len(expected) > 20
    assert_found(detect(folder, PIXELS, LEAST), expected)


@pytest.mark.parametrize(
    ("decoding", "outputs", "message"),
    [
        (YoloxDecoding(), {"a": (1, 100, 8)}, r"gives 100 rows, and the strides in model\.json make 126 cells"),
        (YoloxDecoding(), {"a": (1, 126, 85)}, r"scores 80 classes, and model\.json names 3"),
        (YoloxDecoding(), {"a": (1, 8, 4, 6)}, r"outputs \(1x8x4x6\) are not what `yolox` reads"),
        (DflDecoding(strides=(32,)), {"a": (7, 3), "b": (7, 32)}, r"gives 7 rows, and the strides .* make 6 cells"),
        (DflDecoding(strides=(32,)), {"a": (6, 3), "b": (6, 28)}, "are not what `dfl` reads"),
        (DflDecoding(strides=(32,)), {"a": (6, 3), "b": (6, 32), "c": (2, 9)}, "are not scores and 32 logits a cell"),
        (DflDecoding(strides=(32,)), {"a": (6,)}, r"outputs \(6\) are not what `dfl` reads"),
        (DflDecoding(strides=(32,)), {"a": (1, 6, 9)}, r"outputs \(1x6x9\) are not what `dfl` reads"),
        (DflDecoding(strides=(32,)), {"a": (2, 6, 35)}, r"outputs \(2x6x35\) are not what `dfl` reads"),
        (FastestDetDecoding(), {"a": (1, 126, 8)}, r"outputs \(1x126x8\) are not what `fastestdet` reads"),
        (FastestDetDecoding(), {"a": (1, 85, 4, 6)}, r"scores 80 classes, and model\.json names 3"),
        (FastestDetDecoding(), {"a": (1, 1, 4, 6)}, r"outputs \(1x1x4x6\) are not what `fastestdet` reads"),
    ],
)  # fmt: skip
def test_outputs_of_another_kind_are_an_error(tmp_path, decoding, outputs, message: str) -> None:
    graph = graph_of({name: np.zeros(s, np.float32) for name, s in outputs.items()}, [1, 3, HEIGHT, WIDTH])
    folder = artifact_of(graph, tmp_path / "model", decoding, STRETCH)
    with pytest.raises(ArtifactError, match=message):
        detect(folder, PIXELS)
