from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml

from detector.common.errors import ParamsError
from detector.params import ModelSettings, ProposeSettings, load_params, params_digest
from detector.proposals import METHODS, Method, Mode
from detector.runtime.artifact import ProposalSettings

PROJECT = Path(__file__).parents[2]
FILES = [PROJECT / "params.yaml", *sorted((PROJECT / "settings").glob("*.yaml"))]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_every_params_file_of_the_project_is_valid(path: Path) -> None:
    params = load_params(path)
    assert params.detect.max_proposals <= params.propose.max_boxes
    assert (params.fetch.sources[0].format == "generated") == (path.name == "params.yaml")


def test_every_mode_of_the_search_can_be_set_and_stands_in_an_artifact() -> None:
    for settings in ProposeSettings, ProposalSettings:
        assert get_args(settings.model_fields["mode"].annotation) == get_args(Mode)
    assert get_args(ProposalSettings.model_fields["method"].annotation) == get_args(Method)


def test_every_member_can_be_set_and_says_where_its_proposals_come_from() -> None:
    assert set(get_args(ModelSettings.model_fields["name"].annotation)) == set(METHODS)


@pytest.fixture
def changed(tmp_path: Path) -> Callable[[Callable[[dict[str, Any]], object]], Path]:
    """params.yaml after a change to its content."""

    def write(change: Callable[[dict[str, Any]], object]) -> Path:
        content = yaml.safe_load(FILES[0].read_text())
        change(content)
        path = tmp_path / "params.yaml"
        path.write_text(yaml.safe_dump(content))
        return path

    return write


@pytest.mark.parametrize(
    ("change", "key"),
    [
        (lambda c: c["train"].update(epoch=3), r"train\.epoch: "),
        (lambda c: c["train"].pop("epochs"), r"train\.epochs: "),
        (lambda c: c.update(extra={}), "extra: "),
        (lambda c: c.pop("detect"), "detect: "),
        (lambda c: c["train"].update(learning_rate=0), r"train\.learning_rate: "),
        (lambda c: c["train"].update(image_sizes=[]), r"train\.image_sizes: "),
        (lambda c: c["model"].update(name="yolo"), r"model\.name: "),
        (lambda c: c["model"].update(backbone="vgg"), r"model\.backbone: "),
        (lambda c: c["detect"].update(nms_threshold=0), r"detect\.nms_threshold: "),
        (lambda c: c["model"].update(image_size=8192), r"model\.image_size: "),
        (lambda c: c["train"].update(image_sizes=[16]), r"train\.image_sizes\.0: "),
        (lambda c: c["model"].update(crop_size=50), r"model\.crop_size: "),
        (
            lambda c: c["fetch"]["sources"][0]["splits"].update(train=0),
            r"fetch\.sources\.0\.generated\.splits\.train: ",
        ),
        (
            lambda c: c["fetch"]["sources"][0].update(format="csv"),
            r"fetch\.sources\.0: .*'coco', 'voc', 'yolo', 'cvat'",
        ),
        (
            lambda c: c["fetch"].update(source="voc", voc={}),
            r"fetch: .*source, voc: sources are a list now, as in `sou",
        ),
    ],
)
def test_an_unknown_missing_or_wrong_key_is_named(
    changed: Callable[..., Path], change: Callable[[dict[str, Any]], object], key: str
) -> None:
    path = changed(change)
    with pytest.raises(ParamsError, match=rf"params\.yaml: {key}"):
        load_params(path)


def test_all_problems_are_told_at_once(changed: Callable[..., Path]) -> None:
    with pytest.raises(ParamsError, match=r"train\.epochs: .*; train\.epoch: "):
        load_params(changed(lambda c: c["train"].update(epoch=c["train"].pop("epochs"))))


@pytest.mark.parametrize("content", [b"train: [1", b"train: {a: 1", b"a: b: c", b"\tx: 1", b"\xff\xfe\x00"])
def test_what_is_no_yaml_is_said_to_be_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "params.yaml").write_bytes(content)
    with pytest.raises(ParamsError, match=r"params\.yaml is not YAML"):
        load_params(tmp_path / "params.yaml")


@pytest.mark.parametrize("content", ["", "- 1", "text"])
def test_yaml_without_sections_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "params.yaml").write_text(content)
    with pytest.raises(ParamsError, match=r"params\.yaml: "):
        load_params(tmp_path / "params.yaml")


def test_a_missing_file_says_where_to_run(tmp_path: Path) -> None:
    with pytest.raises(ParamsError, match=r"params\.yaml is missing: run from the project's folder"):
        load_params(tmp_path / "params.yaml")


def test_params_are_frozen() -> None:
    params = load_params(FILES[0])
    with pytest.raises(ValueError, match="frozen"):
        params.train.epochs = 3  # type: ignore[misc]


def test_the_digest_is_of_the_values_alone(changed: Callable[..., Path]) -> None:
    def reorder(content: dict[str, Any]) -> None:
        content["train"] = dict(reversed(content["train"].items()))

    digest = params_digest(load_params(FILES[0]))
    assert params_digest(load_params(changed(reorder))) == digest  # comments are gone too
    assert params_digest(load_params(changed(lambda c: c["train"].update(epochs=9)))) != digest


@pytest.mark.parametrize("size", [128, 512])
def test_a_size_in_use_that_is_never_trained_is_refused(changed: Callable[..., Path], size: int) -> None:
    path = changed(lambda c: (c["model"].update(image_size=size), c["train"].update(image_sizes=[192, 256])))
    with pytest.raises(ParamsError, match=rf"model\.image_size {size} lies outside train\.image_sizes \[192, 256\]"):
        load_params(path)


def test_a_key_that_is_given_twice_is_refused_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    path.write_text(FILES[0].read_text().replace("  epochs: 8\n", "  epochs: 8\n  epochs: 80\n"))
    line = path.read_text().splitlines().index("  epochs: 80") + 1
    with pytest.raises(ParamsError, match=rf"params\.yaml: line {line}: the key 'epochs' is given twice"):
        load_params(path)


def test_the_former_name_of_a_section_is_explained(changed: Callable[..., Path]) -> None:
    with pytest.raises(ParamsError, match="`evaluate` is now called `detect`"):
        load_params(changed(lambda c: c.update(evaluate=c.pop("detect"))))
