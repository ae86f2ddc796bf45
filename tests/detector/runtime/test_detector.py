import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest

from detector.common.errors import ArtifactError, DeviceError
from detector.proposals import sliding_window
from detector.runtime.artifact import load_artifact
from detector.runtime.detector import Detector, Image, open_detector
from detector.runtime.postprocess import Detections
from detector.runtime.reading import Reading
from tests.support.detecting import detect as detect_one
from tests.support.detecting import same


@pytest.fixture(scope="module")
def searching(make_artifact: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An artifact whose graph takes proposals."""
    return make_artifact(tmp_path_factory.mktemp("artifact") / "searching")


def picture(height: int, width: int, seed: int = 0) -> np.ndarray:
    """Blocks of colour, so that there is something to propose."""
    blocks = np.random.default_rng(seed).integers(0, 256, (-(-height // 8), -(-width // 8), 3))
    return np.ascontiguousarray(blocks.repeat(8, 0).repeat(8, 1)[:height, :width].astype(np.uint8))


def detect(detector: Detector | Path, pixels: np.ndarray, min_score: float | None = 0.0) -> Detections:
    """All detections in one image unless a score is given."""
    return detect_one(detector, pixels, min_score)


def rewrite(folder: Path, **changes: object) -> None:
    """Change keys of an artifact's model.json."""
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def _search(folder: Path, method: str, batch: int) -> None:
    search = {"method": method, "mode": "fast", "max_boxes": 20, "batch": batch}
    rewrite(folder, decoding={"kind": "rcnn", "proposals": search})


@pytest.mark.parametrize(("height", "width"), [(40, 64), (50, 90), (90, 50), (3, 200), (200, 3), (1, 1), (1, 50)])
def test_images_of_every_shape_have_detections_inside_them(searching: Path, height: int, width: int) -> None:
    found = detect(searching, picture(height, width))
    boxes = found.boxes
    assert 1 <= len(boxes) <= load_artifact(searching).max_detections
    assert (boxes[:, :2] >= 0).all() and (boxes[:, 2] <= width).all() and (boxes[:, 3] <= height).all()
    assert (boxes[:, 2:] - boxes[:, :2] >= 1).all()
    assert (np.diff(found.scores) <= 0).all() and set(found.labels) <= {0, 1, 2}


def test_boxes_are_in_the_images_own_pixels(artifact: Path) -> None:
    # The graph always says (2, 3, 20, 24) and (8, 4, 40, 30) in the image that was resized to a longer side of 64.
    found = detect(artifact, np.full((80, 128, 3), 90, np.uint8))
    assert {tuple(box) for box in found.boxes.tolist()} == {(4, 6, 40, 48), (16, 8, 80, 60)}


def test_the_graphs_own_numbers_arrive(artifact: Path) -> None:
    found = detect(artifact, np.full((40, 64, 3), 127, np.uint8))  # a mean of 0, padding included
    weights = np.linspace(-0.03, 0.03, 12).reshape(4, 3)
    expected = 1 / (1 + np.exp(-(np.array([[2, 3, 20, 24], [8, 4, 40, 30]]) @ weights)))  # (2, 3)
    assert sorted(found.scores) == sorted(np.round(expected, 4).ravel())


def test_min_score_is_the_artifacts_unless_given(make_artifact: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_artifact(tmp_path / "model", bias=-1.0)
    rewrite(folder, operating_score=0.5, max_detections=200)
    pixels = picture(40, 64)
    everything, usual, high = (detect(folder, pixels, score) for score in (0.0, None, 0.7))
    assert everything.scores.min() < load_artifact(folder).operating_score == 0.5
    for found, least in ((usual, 0.5), (high, 0.7)):
        kept = everything.scores >= least
        assert 0 < kept.sum() < len(kept)
        assert same(found, Detections(everything.boxes[kept], everything.scores[kept], everything.labels[kept]))


@pytest.mark.parametrize("batch", [1, 7, 20, 1000])
def test_a_graph_that_takes_few_proposals_at_once_finds_the_same(
    make_artifact: Callable[..., Path], searching: Path, tmp_path: Path, batch: int
) -> None:
    folder = make_artifact(tmp_path / "model")
    _search(folder, method="selective_search", batch=batch)
    for pixels in (picture(40, 64), picture(1, 1)):
        whole = detect(searching, pixels)
        assert same(detect(folder, pixels), whole) and len(whole.scores)


def test_windows_are_proposals_too(make_artifact: Callable[..., Path], searching: Path, tmp_path: Path) -> None:
    folder = make_artifact(tmp_path / "model")
    _search(folder, method="sliding_window", batch=8)
    pixels = picture(40, 64)
    found = detect(folder, pixels)
    windows = {tuple(box) for box in sliding_window(40, 64, 20).tolist()}
    assert len(found.boxes) and {tuple(box) for box in found.boxes.tolist()} <= windows  # the graph keeps their places
    assert not same(found, detect(searching, pixels))


def test_scores_are_calibrated_before_they_are_rounded(artifact: Path, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    shutil.copytree(artifact, folder)
    rewrite(folder, calibration={"slope": 0.5, "offset": -3.0})
    pixels = np.full((40, 64, 3), 127, np.uint8)
    found, before = (detect(f, pixels) for f in (folder, artifact))
    odds = np.log(before.scores / (1 - before.scores))
    np.testing.assert_allclose(found.scores, 1 / (1 + np.exp(3 - 0.5 * odds)), atol=1e-4)
    assert np.array_equal(found.boxes, before.boxes) and (found.scores * 1e4 % 1 < 1e-6).all()


def test_threads_do_not_change_a_number(searching: Path) -> None:
    pictures = [picture(40 + seed, 64, seed) for seed in range(6)]
    single, double = open_detector(searching, threads=1), open_detector(searching, threads=2)
    alone = [detect(single, pixels) for pixels in pictures]
    assert all(same(detect(double, p), a) for p, a in zip(pictures, alone, strict=True))
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda pixels: detect(single, pixels), pictures * 3))
    assert all(same(found, alone[i % 6]) for i, found in enumerate(together))


def test_grouping_does_not_change_a_number_and_steps_have_times(searching: Path, artifact: Path) -> None:
    images = [Image.whole(picture(40 + seed, 64, seed)) for seed in range(4)]
    for folder, steps in (
        (searching, ["preprocess", "proposals", "network", "postprocess"]),
        (artifact, ["preprocess", "network", "postprocess"]),
    ):
        detector = open_detector(folder)
        together = detector.detect(images, min_score=0.0)
        assert list(together.seconds) == steps and min(together.seconds.values()) >= 0
        alone = [detect(detector, image.pixels) for image in images]
        assert all(same(one, other) for one, other in zip(together.detections, alone, strict=True))
        assert detector.detect([]).detections == []


def test_an_image_may_be_decoded_at_the_size_that_is_needed(artifact: Path) -> None:
    """Results are in the frame of the whole image."""
    detector = open_detector(artifact)
    assert detector.reading(80, 128) == Reading(40, 64, "bilinear")
    whole = detect(detector, np.full((80, 128, 3), 90, np.uint8))
    small = Image(np.full((40, 64, 3), 90, np.uint8), height=80, width=128)
    (found,) = detector.detect([small], min_score=0.0).detections
    assert same(found, whole)


def test_a_search_for_proposals_needs_the_whole_image(searching: Path) -> None:
    assert open_detector(searching).reading(80, 128) == Reading(80, 128, None)


def test_a_device_that_cannot_be_used_is_an_error(artifact: Path) -> None:
    with pytest.raises(DeviceError, match="device tpu: not one of auto, cpu, cuda"):
        open_detector(artifact, "tpu")


def replace_graph(folder: Path, data: bytes) -> None:
    """Put another model.onnx into an artifact, with its digest."""
    (folder / "model.onnx").write_bytes(data)
    rewrite(folder, onnx_sha256=hashlib.sha256(data).hexdigest())


def test_a_file_that_is_no_graph_is_an_artifact_error(make_artifact: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_artifact(tmp_path / "model")
    replace_graph(folder, b"not a graph")
    with pytest.raises(ArtifactError, match=r"model\.onnx: ONNX Runtime cannot load it"):
        open_detector(folder)


def test_a_graph_with_other_inputs_is_an_artifact_error(make_artifact: Callable[..., Path], tmp_path: Path) -> None:
    folder, other = make_artifact(tmp_path / "model"), make_artifact(tmp_path / "other", proposals=False)
    replace_graph(folder, (other / "model.onnx").read_bytes())
    with pytest.raises(ArtifactError, match=r"inputs are \['image'\], not \['image', 'proposals'\]"):
        open_detector(folder)


def test_a_graph_with_other_outputs_is_an_artifact_error(make_artifact: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_artifact(tmp_path / "model")
    model = onnx.load(folder / "model.onnx")
    del model.graph.output[1:]
    replace_graph(folder, model.SerializeToString())
    with pytest.raises(ArtifactError, match=r"outputs are \['scores'\], not \['boxes', 'scores'\]"):
        open_detector(folder)


def test_a_missing_artifact_is_an_artifact_error(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="is missing"):
        open_detector(tmp_path)


def test_a_detector_works_where_torch_and_the_pipeline_are_absent(searching: Path) -> None:
    program = """
import sys
for name in ("torch", "torchvision", "timm", "dvc", "dvclive", "faster_coco_eval", "onnx", "matplotlib", "boto3"):
    sys.modules[name] = None  # importing it fails
import numpy as np
from pathlib import Path
from detector.runtime.reading import Reading
from detector.runtime.detector import Image, open_detector
image = Image.whole(np.zeros((40, 64, 3), np.uint8))
print(len(open_detector(Path(sys.argv[1])).detect([image], min_score=0.0).detections[0].scores))
"""
    result = subprocess.run([sys.executable, "-c", program, str(searching)], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    assert int(result.stdout) >= 1


def test_onnx_runtime_leaves_the_home_folder_alone(artifact: Path, tmp_path: Path) -> None:
    """ONNX Runtime keeps and sends telemetry unless a variable forbids it."""
    script = "import sys, pathlib, detector.runtime.detector as d; d.open_detector(pathlib.Path(sys.argv[1]))"
    environment = {name: value for name, value in os.environ.items() if name != "ORT_DISABLE_TELEMETRY"}
    subprocess.run([sys.executable, "-c", script, str(artifact)], check=True, env=environment | {"HOME": str(tmp_path)})
    assert not list(tmp_path.rglob("*"))


def test_an_artifact_with_selective_search_names_the_extra_that_it_needs(
    make_artifact: Callable[..., Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As where boxcar is installed without the extra `proposals`."""
    monkeypatch.setitem(sys.modules, "numba", None)
    for name in [name for name in sys.modules if name.startswith("detector.proposals")]:
        monkeypatch.delitem(sys.modules, name)
    with pytest.raises(ArtifactError, match=r"needs selective search, and numba is not installed.*'\.\[proposals\]'"):
        open_detector(make_artifact(tmp_path / "artifact"))
    open_detector(make_artifact(tmp_path / "other", proposals=False))  # which proposes by itself
