"""The five stages on a handful of scenes: not whether it learns, but that everything fits together."""

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from detector.common.digests import sha256_of
from detector.common.errors import AnnotationError, WeightsError
from detector.data.annotations import load_coco
from detector.model import fast_rcnn
from detector.model.family import FAMILY
from detector.params import Params, params_digest
from detector.proposals import METHODS, selective_search
from detector.proposals.store import load_proposals
from detector.runtime.artifact import load_artifact
from detector.runtime.images import decode_image
from detector.runtime.predictor import Predictor
from detector.stages import evaluate, export, fetch, propose, train

COUNTS = {"train": 6, "val": 3, "test": 3}


def small_params(name: str = "fast_rcnn") -> Params:
    content = yaml.safe_load((Path(__file__).parents[3] / "params.yaml").read_text())
    content["fetch"]["generated"] = COUNTS
    content["propose"].update(mode="quality", max_boxes=150)
    content["model"].update(name=name, weights="none", image_size=96, pyramid_channels=8, hidden=16)
    content["train"].update(
        device="cpu", epochs=1, batch_size=3, image_sizes=[64, 96], average=0.0, proposals=100, regions=16
    )
    content["evaluate"].update(max_proposals=60, min_score=0.01, max_detections=20)
    return Params.model_validate(content)


@dataclass(frozen=True)
class Road:
    """Where each stage wrote."""

    home: Path
    params: Params

    @property
    def dataset(self) -> Path:
        return self.home / "dataset"

    @property
    def proposals(self) -> Path:
        return self.home / "proposals"

    @property
    def weights(self) -> Path:
        return self.home / "train" / train.WEIGHTS_FILE

    def json(self, name: str) -> Any:
        def refuse(constant: str) -> None:
            raise AssertionError(f"{name} holds {constant}, which is not JSON")

        return json.loads((self.home / name).read_text("utf-8"), parse_constant=refuse)


def walk(home: Path, dataset: Path | None = None, name: str = "fast_rcnn") -> Road:
    """All stages; dataset: copied instead of fetched; name: the member of the family."""
    road = Road(home, small_params(name))
    params = road.params
    home.mkdir()
    if dataset:
        shutil.copytree(dataset, road.dataset)
    else:
        fetch.fetch(params.fetch, params.fetch.seed, road.dataset)
    propose.run(params.propose, params.model.name, road.dataset, road.proposals, home / "proposals.json", threads=2)
    train.run(params.model, params.train, road.dataset, road.proposals, home / "train", home / "log", home / "state")
    evaluate.run(params.evaluate, params.propose, road.dataset, road.proposals, road.weights, home / "evaluation")
    export.run(params, road.dataset, road.weights, home / "artifact", workers=2)
    return road


@pytest.fixture(scope="module")
def road(tmp_path_factory: pytest.TempPathFactory) -> Road:
    return walk(tmp_path_factory.mktemp("pipeline") / "first")


@pytest.fixture(scope="module")
def again(road: Road) -> Road:
    """The same once more, from the same scenes (that `fetch` repeats itself is tested with it)."""
    return walk(road.home.parent / "second", road.dataset)


def test_every_stage_leaves_what_dvc_expects(road: Road) -> None:
    found = {path.relative_to(road.home).as_posix() for path in road.home.rglob("*") if path.is_file()}
    wanted = {f"proposals/{split}.npz" for split in COUNTS} | {
        "proposals.json", "train/weights.pt", "log/metrics.json", "log/plots/metrics/loss/class.tsv",
        "log/plots/metrics/loss/box.tsv", "evaluation/metrics.json", "evaluation/timing.json",
        "evaluation/classes.json", "evaluation/precision_recall.json", "evaluation/detections.json",
        "evaluation/grid.png", "artifact/model.onnx", "artifact/model.json", "artifact/metrics.json",
        "artifact/reliability.json", "artifact/reliability.png",
    }  # fmt: skip
    assert wanted <= found
    assert not any(path.startswith("state/") for path in found)  # a finished training has nothing to resume


def numbers(content: Any) -> list[float]:
    if isinstance(content, dict | list):
        return [n for item in (content.values() if isinstance(content, dict) else content) for n in numbers(item)]
    return [content] if isinstance(content, int | float) else []


def test_metrics_are_json_of_shares(road: Road) -> None:
    for name in ("proposals.json", "evaluation/metrics.json", "artifact/metrics.json"):
        values = numbers(road.json(name))
        assert values and all(-1 <= value <= 1 for value in values)  # -1: COCO's word for no object of that size
    timing = road.json("evaluation/timing.json")
    assert set(timing) == {"seconds_proposals", "seconds_network", "seconds_postprocess"}
    assert all(value > 0 for value in timing.values())
    assert road.json("log/metrics.json")["loss"]["class"] > 0


def test_proposals_are_those_of_each_image(road: Road) -> None:
    truth = load_coco(road.dataset / "val.json")
    stored = load_proposals(road.proposals / "val.npz", 3)
    for index, image in enumerate(truth.images):
        pixels = decode_image((road.dataset / "images" / image.file_name).read_bytes())
        np.testing.assert_array_equal(stored[index], selective_search(pixels, 150, "quality"))
    measured = road.json("proposals.json")
    assert set(measured) == {"val", "test"}


def test_threads_do_not_change_the_proposals(road: Road, tmp_path: Path) -> None:
    propose.run(road.params.propose, "fast_rcnn", road.dataset, tmp_path, tmp_path / "metrics.json", threads=1)
    for split in COUNTS:
        assert (tmp_path / f"{split}.npz").read_bytes() == (road.proposals / f"{split}.npz").read_bytes()


def test_classes_and_detections_refer_to_the_dataset(road: Road) -> None:
    truth = load_coco(road.dataset / "test.json")
    rows = road.json("evaluation/classes.json")
    assert [row["class"] for row in rows] == list(truth.classes)
    detections = road.json("evaluation/detections.json")
    assert {d["image_id"] for d in detections} <= {image.id for image in truth.images}
    assert {d["category_id"] for d in detections} <= set(truth.category_ids)
    assert detections and all(0.01 <= d["score"] <= 1 for d in detections)


def test_the_artifact_describes_its_making(road: Road) -> None:
    artifact = load_artifact(road.home / "artifact")
    params = road.params
    assert artifact.classes == load_coco(road.dataset / "test.json").classes
    assert artifact.onnx_sha256 == sha256_of(road.home / "artifact/model.onnx")
    assert artifact.params_digest == params_digest(params)
    assert artifact.image_size == 96
    assert artifact.proposals and (artifact.proposals.mode, artifact.proposals.max_boxes) == ("quality", 60)
    assert (artifact.nms_threshold, artifact.max_detections) == (road.params.evaluate.nms_threshold, 20)
    baseline = artifact.baseline
    assert baseline.images == 3 and tuple(baseline.boxes) == artifact.classes
    assert sum(map(sum, baseline.boxes.values())) == sum(map(sum, baseline.sizes)) > 0
    stored = road.json("artifact/metrics.json")
    assert stored.pop("operating_score") == round(artifact.operating_score, 6)
    assert stored == artifact.metrics


def test_the_artifact_achieves_what_evaluate_measured(road: Road) -> None:
    measured = road.json("evaluation/metrics.json")
    stored = load_artifact(road.home / "artifact").metrics
    assert {name for name in measured if measured[name] is not None} - set(stored) == {
        "proposal_recall_50", "proposal_mabo",
    }  # fmt: skip
    assert set(stored) - set(measured) <= {
        "val_calibration_error_before", "val_calibration_error", "calibration_error", "calibration_error_operating",
    }  # fmt: skip
    for name in set(stored) & set(measured):
        assert stored[name] == pytest.approx(measured[name], abs=0.02), name


def test_the_artifact_finds_what_evaluate_found(road: Road) -> None:
    predictor = Predictor(road.home / "artifact")
    truth = load_coco(road.dataset / "test.json")
    image = truth.images[0]
    pixels = decode_image((road.dataset / "images" / image.file_name).read_bytes())
    found = predictor.predict(pixels, min_score=0.01)
    expected = [d for d in road.json("evaluation/detections.json") if d["image_id"] == image.id]
    assert len(found.scores) == len(expected) > 0
    np.testing.assert_allclose(found.scores, [d["score"] for d in expected], atol=2e-3)  # weights are halves


def test_the_same_road_gives_the_same_figures(road: Road, again: Road) -> None:
    for name in ("proposals.json", "evaluation/metrics.json", "evaluation/detections.json", "artifact/metrics.json"):
        assert road.json(name) == again.json(name), name
    assert (road.home / "artifact/model.onnx").read_bytes() == (again.home / "artifact/model.onnx").read_bytes()


@pytest.mark.parametrize("name", sorted(set(FAMILY) - {"fast_rcnn"}))
def test_every_member_of_the_family_walks_the_road(road: Road, tmp_path: Path, name: str) -> None:
    other = walk(tmp_path / "road", road.dataset, name)
    artifact = load_artifact(other.home / "artifact")
    assert artifact.name == name and (artifact.proposals is None) == (METHODS[name] is None)
    truth = load_coco(road.dataset / "test.json")
    predictor = Predictor(other.home / "artifact")
    for image in truth.images:
        pixels = decode_image((road.dataset / "images" / image.file_name).read_bytes())
        found = predictor.predict(pixels, min_score=0.0)
        expected = [d for d in other.json("evaluation/detections.json") if d["image_id"] == image.id]
        best = sorted((d["score"] for d in expected), reverse=True)
        assert len(best) <= len(found.scores) <= 20
        np.testing.assert_allclose(found.scores[: len(best)], best, atol=5e-3)
    windows = other.json("proposals.json").get("test", {}).get("windows")
    assert (windows is not None) == (METHODS[name] == "sliding_window")
    if windows:
        assert 10 < windows["looked_at"] <= 150 < windows["possible"]


def test_an_export_that_is_stopped_leaves_the_artifact_that_was_there(
    road: Road, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*args: object) -> None:
        raise KeyboardInterrupt

    out = tmp_path / "artifact"
    shutil.copytree(road.home / "artifact", out)
    before = load_artifact(out)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(export, "figures", stopped)
        export.run(road.params, road.dataset, road.weights, out, workers=1)
    assert load_artifact(out) == before
    export.run(road.params, road.dataset, road.weights, out, workers=1)
    assert load_artifact(out) == before and not list(tmp_path.glob("*.new"))


def test_a_killed_stage_resumes_with_the_same_settings_only(
    road: Road, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    state, weights, log = tmp_path / "state", tmp_path / "out/weights.pt", tmp_path / "log"

    def train_again(**changes: object) -> None:
        settings = road.params.train.model_copy(update=changes)
        train.run(road.params.model, settings, road.dataset, road.proposals, weights.parent, log, state)

    def killed(*args: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train, "save_trained", killed)
        train_again()
    assert len(list(state.glob("*.pt"))) == 1 and not weights.exists()
    shutil.rmtree(log)  # as DVC does before it runs a stage again
    with monkeypatch.context() as patch:
        patch.setattr(fast_rcnn, "multi_task_loss", killed)  # a step of training would end here
        with pytest.raises(KeyboardInterrupt):
            train_again(seed=9)
        train_again()
    assert weights.is_file() and not list(state.glob("*.pt"))
    steps = (log / "plots/metrics/loss/class.tsv").read_text().splitlines()[1:]
    assert len(steps) == road.params.train.epochs


def test_missing_products_name_the_stage_to_run(road: Road, tmp_path: Path) -> None:
    settings = road.params.evaluate
    with pytest.raises(AnnotationError, match="run the stage `propose`"):
        evaluate.run(settings, road.params.propose, road.dataset, tmp_path, road.weights, tmp_path)
    with pytest.raises(WeightsError, match="run the stage `train`"):
        evaluate.run(settings, road.params.propose, road.dataset, road.proposals, tmp_path / "weights.pt", tmp_path)
