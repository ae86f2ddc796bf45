"""A training that starts from an earlier detector's weights."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from detector.common.errors import TrainingError, WeightsError
from detector.data.annotations import CocoDataset
from detector.model.distributed import World
from detector.model.heads import ClassLayer
from detector.model.network import DetectionNetwork
from detector.model.start import begin, weights_of
from detector.model.trained import save_trained
from detector.model.training import new_learner
from detector.model.weights_file import WEIGHTS_FILE, Making
from detector.params import ModelSettings, TrainSettings
from detector.proposals.store import Proposals
from detector.runtime.shipped import SHIPPED

OLD = ("cat", "dog", "tree")
NEW = ("house", "dog", "cat", "bird")
MEMBERS = ("single_object", "sliding_window", "rcnn", "fast_rcnn", "faster_rcnn", "cascade_rcnn")


@pytest.fixture
def saved(
    lively_network: Callable[..., DetectionNetwork], model_settings: Callable[..., ModelSettings], tmp_path: Path
) -> Callable[..., tuple[DetectionNetwork, Path]]:
    """(settings...) -> a trained network of three classes, and its file."""

    def save(**changes: object) -> tuple[DetectionNetwork, Path]:
        network = lively_network(**changes)
        path = tmp_path / "artifact" / WEIGHTS_FILE
        save_trained(path, network, Making({"model": model_settings(**changes).model_dump(mode="json")}, OLD))
        return network, path

    return save


@pytest.mark.parametrize(
    "changes",
    [
        *({"name": name} for name in MEMBERS), {"name": "rcnn", "head": "svm"},
        {"name": "faster_rcnn", "head": "light"},
    ],
)  # fmt: skip
def test_the_rows_of_known_classes_are_kept_and_the_others_start_anew(
    saved: Callable[..., tuple[DetectionNetwork, Path]],
    model_settings: Callable[..., ModelSettings],
    changes: dict[str, str],
) -> None:
    earlier, path = saved(**changes)
    begun = begin(model_settings(start_from="none", **changes), NEW, path)
    assert begun.kept == ("dog", "cat") and begun.new == ("house", "bird")
    before = dict(earlier.named_modules())
    layers = 0
    for name, layer in begun.network.named_modules():
        if isinstance(layer, ClassLayer):
            layers += 1
            for new, old in ((1, 1), (2, 0)):
                for part in ("weight", "bias"):
                    own, given = getattr(layer, part), getattr(before[name], part)
                    assert torch.equal(own[layer.rows_of(new)], given[layer.rows_of(old)])
            if layer.background:
                assert torch.equal(layer.weight[0], before[name].weight[0])
            assert layer.weight[layer.rows_of(0)].abs().max() < 0.1 < before[name].weight.abs().max()
    assert layers
    kept, own = earlier.state_dict(), begun.network.state_dict()
    same = {name for name in own if kept[name].shape == own[name].shape and torch.equal(kept[name], own[name])}
    last = {name for name, layer in begun.network.named_modules() if isinstance(layer, ClassLayer)}
    assert {name for name in own if name.rpartition(".")[0] not in last} <= same


def test_weights_of_the_earlier_detector_have_a_learning_rate_of_their_own(
    saved: Callable[..., tuple[DetectionNetwork, Path]],
    model_settings: Callable[..., ModelSettings],
    train_settings: Callable[..., TrainSettings],
    training_set: tuple[Path, CocoDataset, Proposals],
) -> None:
    _, path = saved(name="fast_rcnn")
    begun = begin(model_settings(name="faster_rcnn"), NEW, path)
    settings = train_settings(learning_rate=1.0, backbone_rate=0.5, start_rate=0.25, frozen_blocks=0)
    learner = new_learner(
        begun.network, training_set[1], settings, torch.device("cpu"), "fp32", World(), begun.parameters
    )
    rates = {id(own): group["max_lr"] for group in learner.optimiser.param_groups for own in group["params"]}
    found = {name: rates[id(own)] for name, own in begun.network.named_parameters() if id(own) in rates}
    assert {rate for name, rate in found.items() if name.startswith("backbone.")} == {0.125}
    assert {rate for name, rate in found.items() if name.startswith(("pyramid.", "head.layers."))} == {0.25}
    assert {rate for name, rate in found.items() if name.startswith(("rpn.", "head.classes.", "head.deltas."))} == {1}


def test_a_network_of_the_same_classes_detects_the_same(
    saved: Callable[..., tuple[DetectionNetwork, Path]], model_settings: Callable[..., ModelSettings]
) -> None:
    earlier, path = saved()
    begun = begin(model_settings(), OLD, path)
    image, proposals = torch.randn(1, 3, 32, 64), torch.tensor([[2.0, 3, 50, 20]])
    with torch.inference_mode():
        results = zip(
            begun.network.eval().detect(image, proposals, 9), earlier.detect(image, proposals, 9), strict=True
        )
        assert all(torch.equal(ours, theirs) for ours, theirs in results)


def test_another_member_takes_the_parts_that_both_have(
    saved: Callable[..., tuple[DetectionNetwork, Path]], model_settings: Callable[..., ModelSettings]
) -> None:
    earlier, path = saved(name="fast_rcnn")
    begun = begin(model_settings(name="faster_rcnn"), OLD, path)
    assert begun.new == ("rpn",) and begun.kept == OLD
    # R-CNN's head reads vectors of the backbone, and the head of the other one those of its hidden layers.
    for name, parts in (("rcnn", ("head",)), ("single_object", ("box", "classes", "layers", "reduce"))):
        begun = begin(model_settings(name=name), OLD, path)
        assert begun.new == (*parts, *OLD) and begun.kept == ()
        own = begun.network.state_dict()
        given = {key: value for key, value in earlier.state_dict().items() if key.startswith("backbone.")}
        assert given and all(torch.equal(own[key], value) for key, value in given.items())


def test_a_head_with_one_box_for_all_classes_keeps_its_class_rows_alone(
    saved: Callable[..., tuple[DetectionNetwork, Path]], model_settings: Callable[..., ModelSettings]
) -> None:
    earlier, path = saved(name="faster_rcnn")
    begun = begin(model_settings(name="cascade_rcnn"), NEW, path)
    assert begun.new == ("second_head", "house", "bird") and begun.kept == ("dog", "cat")
    own, given = begun.network.state_dict(), earlier.state_dict()
    assert torch.equal(own["head.classes.weight"][3], given["head.classes.weight"][1])  # cat
    assert torch.equal(own["head.layers.1.weight"], given["head.layers.1.weight"])
    assert own["head.shared_box.weight"].abs().max() < 0.1 and "head.shared_box.weight" not in begun.parameters

    earlier, path = saved(name="cascade_rcnn")
    begun = begin(model_settings(name="faster_rcnn"), NEW, path)
    assert begun.new == ("house", "bird") and begun.kept == ("dog", "cat")
    own, given = begun.network.state_dict(), earlier.state_dict()
    assert torch.equal(own["head.classes.weight"][3], given["head.classes.weight"][1])
    assert own["head.deltas.weight"].abs().max() < 0.1


@pytest.mark.parametrize("heads", [("softmax", "light"), ("light", "softmax")])
def test_a_box_for_all_classes_is_not_taken_from_another_head(
    saved: Callable[..., tuple[DetectionNetwork, Path]],
    model_settings: Callable[..., ModelSettings],
    heads: tuple[str, str],
) -> None:
    _, path = saved(name="cascade_rcnn", head=heads[0])
    begun = begin(model_settings(name="cascade_rcnn", head=heads[1]), OLD, path)
    assert begun.kept == () and not any("head." in name for name in begun.parameters)
    assert begun.network.state_dict()["second_head.shared_box.weight"].abs().max() < 0.1


def test_a_light_head_starts_anew_on_the_layers_before_it(
    saved: Callable[..., tuple[DetectionNetwork, Path]], model_settings: Callable[..., ModelSettings]
) -> None:
    earlier, path = saved(name="faster_rcnn")
    begun = begin(model_settings(name="faster_rcnn", head="light"), OLD, path)
    assert begun.new == ("head", "rpn", "thin", *OLD) and begun.kept == ()
    own, given = begun.network.state_dict(), earlier.state_dict()
    for name, value in own.items():
        if name.startswith(("backbone.", "pyramid.lateral.")):
            assert torch.equal(value, given[name])
        else:
            assert name not in begun.parameters


@pytest.mark.parametrize(
    ("earlier", "later"),
    [("fast_rcnn", "rcnn"), ("rcnn", "fast_rcnn"), ("sliding_window", "single_object"), ("single_object", "rcnn")],
)
def test_a_head_of_another_member_is_not_kept_where_its_sizes_fit_by_chance(
    saved: Callable[..., tuple[DetectionNetwork, Path]],
    model_settings: Callable[..., ModelSettings],
    earlier: str,
    later: str,
) -> None:
    """The hidden layers are as wide as the backbone's last map."""
    _, path = saved(name=earlier, hidden=320)
    assert begin(model_settings(name=later, hidden=320), OLD, path).kept == ()


def test_weights_of_another_version_are_read_whatever_settings_it_had(
    lively_network: Callable[..., DetectionNetwork], model_settings: Callable[..., ModelSettings], tmp_path: Path
) -> None:
    later = model_settings().model_dump(mode="json") | {"of_a_later_version": 1}
    save_trained(tmp_path / WEIGHTS_FILE, lively_network(), Making({"model": later}, OLD))
    assert begin(model_settings(), OLD, tmp_path / WEIGHTS_FILE).kept == OLD


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"pyramid_channels": 16}, "model.pyramid_channels is 16 here and 8 there"),
        ({"hidden": 24}, "model.hidden is 24 here and 16 there"),
        ({"backbone": "resnet18"}, "model.backbone is resnet18 here and efficientnet_lite0 there"),
    ],
)
def test_other_layers_are_refused_with_the_setting_that_differs(
    saved: Callable[..., tuple[DetectionNetwork, Path]],
    model_settings: Callable[..., ModelSettings],
    changes: dict[str, object],
    reason: str,
) -> None:
    _, path = saved()
    with pytest.raises(TrainingError, match=reason):
        begin(model_settings(start_from="none", **changes), OLD, path)


def test_an_artifact_is_found_by_its_name_folder_or_file(
    saved: Callable[..., tuple[DetectionNetwork, Path]],
    model_settings: Callable[..., ModelSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    _, path = saved()
    for name in (str(path), str(path.parent)):
        assert weights_of(model_settings(start_from=name), tmp_path) == path
    monkeypatch.chdir(tmp_path)
    (tmp_path / "voc20").mkdir()  # perhaps somebody's data
    assert weights_of(model_settings(start_from="voc20"), tmp_path) == SHIPPED / WEIGHTS_FILE
    (tmp_path / "backbone.pth").write_bytes(b"x")
    for name in ("imagenet", "none", str(tmp_path / "backbone.pth")):
        assert weights_of(model_settings(start_from=name), tmp_path) is None
    with pytest.raises(WeightsError, match=r"model\.start_sha256 is 0"):
        weights_of(model_settings(start_from=str(path), start_sha256="0" * 64), tmp_path)


@pytest.mark.parametrize(
    ("name", "kind", "reason"),
    [
        ("no/such/place", TrainingError, "is neither a folder nor a file here: name imagenet, none, voc20"),
        (".", WeightsError, r"\. has no weights\.safetensors: .*an imported detector has none"),
        ("nowhere:main", TrainingError, "model.start_from: nowhere:main: "),
        ("abc://bucket/prefix:", TrainingError, "is named REPO:REV"),
    ],
)
def test_a_place_without_weights_is_named(
    model_settings: Callable[..., ModelSettings],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    kind: type[Exception],
    reason: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(kind, match=reason):
        weights_of(model_settings(start_from=name), tmp_path)
