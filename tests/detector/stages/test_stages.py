"""The five stages on a handful of scenes: not whether it learns, but that everything fits together."""

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from detector.common.digests import sha256_of
from detector.common.errors import AnnotationError, ArtifactError, WeightsError
from detector.data.annotations import load_coco, save_coco
from detector.evaluation.detections import load_results, no_detections
from detector.export.card import tables
from detector.model import fast_rcnn
from detector.model.family import FAMILY
from detector.model.training import EpochReport
from detector.model.weights_file import WEIGHTS_FILE, load_making
from detector.params import Params, params_digest
from detector.proposals import METHODS, selective_search
from detector.proposals.store import load_proposals
from detector.runtime.artifact import load_artifact
from detector.runtime.detector import open_detector
from detector.runtime.images import decode_image
from detector.stages import evaluate, export, fetch, propose, train
from detector.stages.digests import data_digest
from detector.stages.layout import DRAFT_FILE
from tests.support.detecting import detect

pytestmark = pytest.mark.slow

COUNTS = {"train": 6, "val": 3, "test": 3}


def small_params(name: str = "fast_rcnn") -> Params:
    content = yaml.safe_load((Path(__file__).parents[3] / "params.yaml").read_text())
    content["fetch"]["sources"][0]["splits"] = COUNTS
    content["propose"].update(mode="quality", max_boxes=150)
    content["model"].update(name=name, start_from="none", image_size=96, pyramid_channels=8, hidden=16)
    content["train"].update(
        device="cpu", epochs=1, batch_size=3, image_sizes=[64, 96], average=0.0, proposals=100, regions=16
    )
    content["detect"].update(max_proposals=60, min_score=0.01, max_detections=20)
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
        return self.home / "train" / WEIGHTS_FILE

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
    evaluate.run(
        params.detect, params.propose, road.dataset, road.proposals, road.weights, home / "evaluation", workers=2
    )
    export.run(params, road.dataset, road.weights, home / "evaluation", home / "artifact")
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
        "proposals.json", "train/weights.safetensors", "log/metrics.json", "log/plots/metrics/loss/class.tsv",
        "log/plots/metrics/loss/box.tsv", "log/plots/validation.json", "evaluation/timing.json",
        "evaluation/metrics.json",
        "evaluation/classes.json", "evaluation/precision_recall.json", "evaluation/detections.json",
        "evaluation/grid.png", "artifact/model.onnx", "artifact/model.json", "evaluation/model.onnx",
        "evaluation/reliability.json", "evaluation/reliability.png", "evaluation/draft.json",
    }  # fmt: skip
    assert wanted <= found
    artifact = {f"artifact/{name}" for name in ("model.onnx", "model.json", WEIGHTS_FILE)}
    assert {path for path in found if path.startswith("artifact/")} == artifact


def numbers(content: Any) -> list[float]:
    if isinstance(content, dict | list):
        return [n for item in (content.values() if isinstance(content, dict) else content) for n in numbers(item)]
    return [content] if isinstance(content, int | float) else []


def test_metrics_are_json_of_shares(road: Road) -> None:
    for name in ("proposals.json", "evaluation/metrics.json"):
        values = numbers(road.json(name))
        assert values and all(-1 <= value <= 1 for value in values)  # -1: COCO's word for no object of that size
    timing = road.json("evaluation/timing.json")
    assert set(timing) == {"seconds_preprocess", "seconds_proposals", "seconds_network", "seconds_postprocess"}
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
    assert artifact.preprocessing.width == 96
    assert artifact.proposals and (artifact.proposals.mode, artifact.proposals.max_boxes) == ("quality", 60)
    assert (artifact.nms_threshold, artifact.max_detections) == (road.params.detect.nms_threshold, 20)
    baseline = artifact.baseline
    assert baseline.images == 3 and tuple(baseline.boxes) == artifact.classes
    assert sum(map(sum, baseline.boxes.values())) == sum(map(sum, baseline.sizes)) > 0
    assert baseline.pixels.images == baseline.pixels.sampled == 3 and baseline.pixels.near_duplicates <= 3
    assert {sum(counts) for counts in baseline.pixels.histograms.values()} == {3}
    assert (artifact.data_digest, artifact.git_revision) == (data_digest(road.dataset), export.git_revision())


def test_what_is_measured_is_what_ships_to_the_last_digit(road: Road) -> None:
    artifact = load_artifact(road.home / "artifact")
    assert (road.home / "artifact/model.onnx").read_bytes() == (road.home / "evaluation/model.onnx").read_bytes()
    measured = road.json("evaluation/metrics.json")
    assert measured.pop("operating_score") == artifact.operating_score
    assert measured == artifact.metrics
    assert {"proposal_recall_50", "map_50_11point", "calibration_error"} <= set(measured)
    page = (road.home / "evaluation/evaluation.html").read_text()
    card = tables(road.home / "artifact")
    for name in ("map_50_11point", "map_70_11point", "coco_ap", "localisation_accuracy"):
        assert f"{measured[name]:.3f}" in page and f"{measured[name]:.3f}" in card, name
    assert {row["class"]: row["ap_50_11point"] for row in road.json("evaluation/classes.json") if row["objects"]} == (
        artifact.class_ap
    )


def test_the_artifact_finds_exactly_what_was_evaluated(road: Road) -> None:
    """The same file in the same runtime: scores are calibrated in both, and every number is equal."""
    detector = open_detector(road.home / "artifact")
    least_score = load_artifact(road.home / "artifact").least_score
    truth = load_coco(road.dataset / "test.json")
    stored = load_results(road.home / "evaluation/detections.json", truth)
    assert stored
    for image in truth.images:
        pixels = decode_image((road.dataset / "images" / image.file_name).read_bytes())
        found = detect(detector, pixels, least_score)
        expected = stored.get(image.id, no_detections())
        np.testing.assert_array_equal(found.scores, expected.scores)
        np.testing.assert_array_equal(found.boxes, expected.boxes)
        np.testing.assert_array_equal(found.labels, expected.labels)


def test_thresholds_and_calibration_come_from_val_and_figures_from_test(road: Road, tmp_path: Path) -> None:
    """Another test split changes the figures only; another val split changes what was chosen on it."""
    chosen = ("calibration", "operating_score", "class_scores", "least_score")
    truth = load_coco(road.dataset / "test.json")
    val = load_coco(road.dataset / "val.json")
    drafts = {}
    for name, splits in {"test": {"test": val}, "val": {"val": truth}}.items():
        dataset = tmp_path / name
        shutil.copytree(road.dataset, dataset)
        for split, content in splits.items():
            save_coco(content, dataset / f"{split}.json")
        out = tmp_path / f"{name}-out"
        proposals = road.proposals
        if name == "test":
            proposals = tmp_path / "proposals"
            shutil.copytree(road.proposals, proposals)
            shutil.copyfile(road.proposals / "val.npz", proposals / "test.npz")
        evaluate.run(road.params.detect, road.params.propose, dataset, proposals, road.weights, out)
        drafts[name] = load_artifact(out, DRAFT_FILE)
    before = load_artifact(road.home / "artifact")
    for field in chosen:
        assert getattr(drafts["test"], field) == getattr(before, field), field
    assert drafts["test"].baseline != before.baseline
    assert drafts["val"].baseline and before.baseline
    assert drafts["val"].baseline.images == before.baseline.images
    assert any(getattr(drafts["val"], field) != getattr(before, field) for field in chosen)


def test_the_same_road_gives_the_same_figures(road: Road, again: Road) -> None:
    for name in ("proposals.json", "evaluation/metrics.json", "evaluation/detections.json"):
        assert road.json(name) == again.json(name), name
    assert (road.home / "artifact/model.onnx").read_bytes() == (again.home / "artifact/model.onnx").read_bytes()


@pytest.mark.parametrize("name", sorted(set(FAMILY) - {"fast_rcnn"}))
def test_every_member_of_the_family_walks_the_road(road: Road, tmp_path: Path, name: str) -> None:
    other = walk(tmp_path / "road", road.dataset, name)
    artifact = load_artifact(other.home / "artifact")
    assert artifact.name == name and (artifact.decoding.proposals is None) == (METHODS[name] is None)
    truth = load_coco(road.dataset / "test.json")
    detector = open_detector(other.home / "artifact")
    for image in truth.images:
        pixels = decode_image((road.dataset / "images" / image.file_name).read_bytes())
        found = detect(detector, pixels, artifact.least_score)
        expected = [d for d in other.json("evaluation/detections.json") if d["image_id"] == image.id]
        assert found.scores.tolist() == [d["score"] for d in expected]
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
        patch.setattr(export, "save_artifact", stopped)
        export.run(road.params, road.dataset, road.weights, road.home / "evaluation", out)
    assert load_artifact(out) == before
    export.run(road.params, road.dataset, road.weights, road.home / "evaluation", out)
    assert load_artifact(out) == before and not list(tmp_path.glob("*.new"))


def test_an_evaluation_whose_graph_was_changed_is_not_exported(road: Road, tmp_path: Path) -> None:
    shutil.copytree(road.home / "evaluation", tmp_path / "evaluation")
    (tmp_path / "evaluation/model.onnx").write_bytes(b"another graph")
    with pytest.raises(ArtifactError, match=r"sha256.*run the stage `evaluate`"):
        export.run(road.params, road.dataset, road.weights, tmp_path / "evaluation", tmp_path / "artifact")
    assert not (tmp_path / "artifact").exists()


@pytest.fixture
def train_again(road: Road, tmp_path: Path) -> Callable[..., Path]:
    """Train once more in a folder of the test's own, with some settings changed; the weights' file."""

    def run(**changes: object) -> Path:
        settings = road.params.train.model_copy(update=changes)
        shutil.rmtree(tmp_path / "log", ignore_errors=True)  # as DVC does before it runs a stage again
        out, log, state = tmp_path / "out", tmp_path / "log", tmp_path / "state"
        train.run(road.params.model, settings, road.dataset, road.proposals, out, log, state)
        return out / WEIGHTS_FILE

    return run


def killed(*args: object) -> None:
    raise KeyboardInterrupt


def test_a_killed_stage_resumes_with_the_same_settings_and_images_only(
    road: Road, train_again: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train, "save_trained", killed)
        train_again()
    state = tmp_path / "state"
    assert len(list(state.glob("*.pt"))) == 1 and not (tmp_path / "out").exists()
    with monkeypatch.context() as patch:
        patch.setattr(fast_rcnn, "multi_task_loss", killed)  # a step of training would end here
        with pytest.raises(KeyboardInterrupt):
            train_again(seed=9)
        image = road.dataset / "images" / load_coco(road.dataset / "val.json").images[0].file_name
        before = image.read_bytes()
        try:
            Image.open(image).transpose(Image.Transpose.ROTATE_180).save(image)  # of the same name, size and labels
            with pytest.raises(KeyboardInterrupt):
                train_again()
        finally:
            image.write_bytes(before)
        assert train_again().is_file()
    logged = json.loads((tmp_path / "log/metrics.json").read_text())
    assert logged["best"] == {"epoch": road.params.train.epochs, **logged["val"]}
    steps = (tmp_path / "log/plots/metrics/loss/class.tsv").read_text().splitlines()[1:]
    assert len(steps) == road.params.train.epochs


def test_a_finished_training_is_not_repeated_and_its_file_is_the_same(
    train_again: Callable[..., Path], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """What `dvc repro` meets when a docstring of the model was changed."""
    first = train_again().read_bytes()
    monkeypatch.setattr(fast_rcnn, "multi_task_loss", killed)
    assert train_again().read_bytes() == first
    assert len(list((tmp_path / "state").iterdir())) == 1  # one state is kept, whatever was trained before


def test_a_machine_that_takes_over_keeps_the_precision_and_says_what_differs(
    train_again: Callable[..., Path],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A Spot job that wakes up on another processor, with another torch, goes on instead of starting over."""
    epochs = {"precision": "auto", "epochs": 2}
    monkeypatch.setattr(train, "resolve_precision", lambda wanted, device: "bf16")

    def stop_after_the_first(self: object, epoch: EpochReport) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train._Log, "__call__", stop_after_the_first)
        train_again(**epochs)
    assert "training on cpu in bf16" in capsys.readouterr().out
    monkeypatch.setattr(train, "resolve_precision", lambda wanted, device: "fp32")
    began = torch.__version__
    monkeypatch.setattr(torch, "__version__", "9.9.0")
    weights = train_again(**epochs)
    said = capsys.readouterr().out
    assert f"resuming with torch 9.9.0; the training began with {began}" in said
    assert "resuming in bf16, as the training began" in said and "epoch 2/2" in said
    assert load_making(weights).precision == "bf16"
    assert json.loads((tmp_path / "log/metrics.json").read_text())["precision"] == "bf16"


def test_missing_products_name_the_stage_to_run(road: Road, tmp_path: Path) -> None:
    settings = road.params.detect
    with pytest.raises(AnnotationError, match="run the stage `propose`"):
        evaluate.run(settings, road.params.propose, road.dataset, tmp_path, road.weights, tmp_path)
    with pytest.raises(WeightsError, match="run the stage `train`"):
        evaluate.run(settings, road.params.propose, road.dataset, road.proposals, tmp_path / "weights", tmp_path)
