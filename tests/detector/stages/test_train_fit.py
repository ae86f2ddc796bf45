"""What `train` does after the last epoch."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

from detector.common.errors import AnnotationError, TrainingError
from detector.data.annotations import CocoDataset, load_coco, save_coco
from detector.model import feature_cache
from detector.model.weights_file import WEIGHTS_FILE
from detector.params import Params
from detector.proposals.store import save_proposals
from detector.stages import fetch, train

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def params() -> Params:
    content = yaml.safe_load((Path(__file__).parents[3] / "params.yaml").read_text())
    content["fetch"]["sources"][0]["splits"] = {"train": 4, "val": 1, "test": 1}
    content["model"].update(name="rcnn", head="svm", start_from="none", image_size=64, crop_size=32)
    content["train"].update(device="cpu", epochs=1, batch_size=4, image_sizes=[64], average=0.0, proposals=9, regions=8)
    return Params.model_validate(content)


@pytest.fixture(scope="module")
def dataset(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Scenes, and beside them some proposals of each of the training split's."""
    folder = tmp_path_factory.mktemp("scenes") / "dataset"
    fetch.fetch(params.fetch, params.fetch.seed, folder)
    random = np.random.default_rng(0)
    boxes = []
    for image in load_coco(folder / "train.json").images:
        low = random.uniform(0, 0.5, (12, 2)) * (image.width, image.height)
        boxes.append(np.concatenate([low, low + random.uniform(20, 100, (12, 2))], axis=1).astype(np.float32))
    (folder.parent / "proposals").mkdir()
    save_proposals(boxes, folder.parent / "proposals/train.npz")
    save_proposals(boxes[:1], folder.parent / "proposals/val.npz")
    return folder


def run(params: Params, dataset: Path, home: Path) -> dict[str, torch.Tensor]:
    train.run(
        params.model, params.train, dataset, dataset.parent / "proposals", home / "out", home / "log", home / "state"
    )
    return load_file(home / "out" / WEIGHTS_FILE)


def test_svms_are_fitted_and_reported_and_a_stop_in_between_changes_nothing(
    params: Params,
    dataset: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    whole = run(params, dataset, tmp_path / "whole")
    assert whole["svm.margins.weight"].any()
    log = json.loads((tmp_path / "whole/log/metrics.json").read_text())
    assert log["svm"]["cached_bytes"] > 4 * 9 * 320 * 2 and log["svm"]["fitting_seconds"] > 0
    truth = load_coco(dataset / "train.json")
    assert set(log["svm"]["positives"]) == set(log["svm"]["negatives"]) == set(truth.classes)
    learnt = sum(int((~image.ignore & ~image.crowd).sum()) for image in truth.images)
    assert sum(log["svm"]["positives"].values()) == learnt
    assert "svm/cached_bytes" in capsys.readouterr().out.splitlines()[-1]
    assert [path.suffix for path in (tmp_path / "whole/state").iterdir()] == [".pt"]  # the cached features are gone

    compute, calls = feature_cache._compute, []

    def stopped(*arguments: object) -> object:
        calls.append(arguments[2])
        if len(calls) == 3:
            raise KeyboardInterrupt
        return compute(*arguments)

    monkeypatch.setattr(feature_cache, "_compute", stopped)
    with pytest.raises(KeyboardInterrupt):
        run(params, dataset, tmp_path / "stopped")
    resumed = run(params, dataset, tmp_path / "stopped")
    assert calls == [0, 1, 2, 2, 3]
    assert all(torch.equal(value, resumed[name]) for name, value in whole.items())


def test_a_training_that_cannot_learn_or_would_replace_its_weights_is_refused(
    params: Params, dataset: Path, tmp_path: Path
) -> None:
    weights = tmp_path / "home/out/weights.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"mine")
    own = params.model_copy(update={"model": params.model.model_copy(update={"start_from": str(weights)})})
    with pytest.raises(TrainingError, match="copy it to another folder"):
        run(own, dataset, tmp_path / "home")
    assert weights.read_bytes() == b"mine"
    truth = load_coco(dataset / "train.json")
    ignored = [dataclasses.replace(image, ignore=np.ones_like(image.ignore)) for image in truth.images]
    save_coco(CocoDataset(truth.classes, tuple(ignored)), tmp_path / "train.json")
    with pytest.raises(AnnotationError, match=r"train\.json: no image has a box to learn from"):
        run(params, tmp_path, tmp_path / "home")
