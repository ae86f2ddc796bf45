"""The artifact that comes with the package is there, is small, is not ignored by git, and finds what it should.

None of these tests knows a figure of it: it may be replaced by another member of the family.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import tomllib
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from detector.cli import main
from detector.common.errors import ArtifactError
from detector.data.classes import VOC_CLASSES
from detector.export.card import BEGIN, renewed, tables
from detector.export.onnx_export import export_onnx
from detector.model.trained import load_trained
from detector.params import Params, load_params, params_digest
from detector.runtime.artifact import load_artifact
from detector.runtime.detector import Detector, open_detector
from detector.runtime.images import decode_image
from detector.runtime.postprocess import Detections
from detector.runtime.shipped import SHIPPED
from detector.stages.lock import read_lock
from tests.support.detecting import detect

ROOT = Path(__file__).parents[3]
CARD = SHIPPED / "README.md"
FILES = {"model.onnx", "model.json", "README.md"}
# For trainings that start from it; the job's image does not have it.
WEIGHTS = SHIPPED / "weights.safetensors"


def photograph(name: str) -> Path:
    """One of scikit-image's wheel."""
    spec = find_spec("skimage")
    if spec is None or not spec.submodule_search_locations:
        pytest.skip("scikit-image is missing: install the extra dev")
    path = Path(spec.submodule_search_locations[0]) / "data" / name
    if not path.is_file():
        pytest.skip(f"this release of scikit-image does not carry {name}")
    return path


def test_it_is_whole_small_and_finds_the_classes_of_voc() -> None:
    artifact = load_artifact(SHIPPED)
    assert set(artifact.classes) == set(VOC_CLASSES) and len(artifact.classes) == 20
    assert set(artifact.class_scores) == set(artifact.class_ap) == set(VOC_CLASSES)
    assert artifact.least_score > 0 and artifact.git_revision and "+" not in artifact.git_revision
    assert {path.name for path in SHIPPED.iterdir()} == FILES | {WEIGHTS.name}
    assert sum((SHIPPED / name).stat().st_size for name in FILES) <= 25_000_000
    assert WEIGHTS.stat().st_size <= 20_000_000


def test_the_weights_beside_it_are_those_of_the_graph(tmp_path: Path) -> None:
    artifact = load_artifact(SHIPPED)
    network, making = load_trained(WEIGHTS)
    assert making.classes == artifact.classes and making.settings["model"]["name"] == artifact.name
    shipped = load_params(ROOT / "settings/shipped.yaml")
    assert making.settings["model"] == shipped.model.model_dump(mode="json")
    export_onnx(network, tmp_path / "model.onnx", 100)
    graphs = [onnx.load(folder / "model.onnx").graph for folder in (SHIPPED, tmp_path)]
    # Not by name: the exporter numbers layers, and the numbers change with the operations around them.
    stored, again = (sorted(item.raw_data for item in graph.initializer) for graph in graphs)
    assert stored == again


def test_the_lock_beside_its_settings_is_that_of_the_run_that_made_it() -> None:
    """`detector check-lock settings/shipped.lock` compares another run with it."""
    stages = read_lock(ROOT / "settings/shipped.lock")
    shipped = load_params(ROOT / "settings/shipped.yaml")
    used = {key: value for stage in stages.values() for key, value in stage["params"]["params.yaml"].items()}
    locked = Params.model_validate({name: used[name] for name in ("fetch", "propose", "model", "train", "detect")})
    assert locked == shipped and params_digest(locked) == load_artifact(SHIPPED).params_digest
    made = {out["path"]: out["md5"] for out in stages["evaluate"]["outs"]}
    for path, kept in (("model.onnx", SHIPPED / "model.onnx"), ("metrics.json", "settings/shipped.metrics.json")):
        assert made[f"build/evaluation/{path}"] == hashlib.md5((ROOT / kept).read_bytes()).hexdigest()


def test_wheel_and_repository_carry_it() -> None:
    """hatchling takes all files of the packages that git does not ignore, the training weights among them."""
    wheel = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["hatch"]["build"]["targets"]["wheel"]
    assert SHIPPED.relative_to(ROOT).parts[0] in wheel["packages"] and not set(wheel) & {"include", "only", "exclude"}
    paths = [str((SHIPPED / name).relative_to(ROOT)) for name in FILES]
    if (ROOT / ".git").exists():
        done = subprocess.run(["git", "check-ignore", "--no-index", *paths], cwd=ROOT, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (1, ""), "git ignores it"


@pytest.fixture(scope="module")
def shipped() -> Detector:
    return open_detector(SHIPPED)


def found(detector: Detector, name: str) -> Detections:
    return detect(detector, decode_image(photograph(name).read_bytes()))


@pytest.mark.parametrize(("name", "label"), [("astronaut.png", "person"), ("chelsea.png", "cat")])
def test_it_sees_what_anybody_sees(shipped: Detector, name: str, label: str) -> None:
    detections = found(shipped, name)
    best = int(np.argmax(detections.scores))
    assert shipped.classes[detections.labels[best]] == label
    x1, y1, x2, y2 = detections.boxes[best].tolist()
    height, width = decode_image(photograph(name).read_bytes()).shape[:2]
    assert (x2 - x1) * (y2 - y1) > 0.2 * height * width  # both fill much of the image
    # The middle of the image is on the person, and on the cat.
    assert x1 < width / 2 < x2 and y1 < height / 2 < y2


def test_it_says_the_same_twice(shipped: Detector) -> None:
    first, second = (found(one, "astronaut.png") for one in (shipped, open_detector(SHIPPED, threads=2)))
    for name in ("boxes", "scores", "labels"):
        assert getattr(first, name).tobytes() == getattr(second, name).tobytes(), name


# The model card.


def test_the_committed_card_has_the_tables_of_this_artifact() -> None:
    made = tables(SHIPPED)
    page = CARD.read_text("utf-8")
    assert renewed(CARD, made) == page, (
        f"run: detector card {SHIPPED.relative_to(ROOT)} --into {CARD.relative_to(ROOT)}"
    )
    assert page.count(BEGIN) == 1
    for heading in ("What it was trained on", "Limits", "Terms"):
        assert f"## {heading}" in page
    for link in re.findall(r"\]\(([^)#:]+)\)", page):
        assert (SHIPPED / link).exists(), link


def test_the_tables_say_what_model_json_says(artifact: Path) -> None:
    """On a small artifact, which is not measured."""
    printed = CliRunner().invoke(main, ["card", str(artifact)])
    assert printed.exit_code == 0 and printed.output == tables(artifact)
    for row in (
        "| member of the family | `faster_rcnn` |",
        "| backbone | `tiny` |",
        "| input | RGB, the longer side resized to 64 pixels |",
        "| proposals | the network's own |",
        "| operating score | 0.300, assumed |",
        "| dog | – | 0.300 |",
    ):
        assert row in printed.output.splitlines()
    assert "This artifact is not measured" in printed.output and "mAP" not in printed.output


def test_figures_stand_in_their_cells(make_artifact, tmp_path: Path) -> None:  # type: ignore[no-untyped-def]
    folder = make_artifact(tmp_path / "a")
    page = (folder / "model.json").read_text()
    figures = '"metrics": {"map_50_11point": 0.61234, "map_70_11point": 0.3, "coco_ap_small": 0.0771}'
    page = page.replace('"metrics": {}', figures).replace('"class_ap": {}', '"class_ap": {"dog": 0.74449}')
    (folder / "model.json").write_text(page)
    made = tables(folder).splitlines()
    assert "| mAP, 11-point (VOC 2007) | 0.612 | 0.300 | – |" in made
    assert "| COCO AP of small objects (below 32 x 32 pixels) | 0.077 |" in made
    assert "| COCO AP, IoU .5 to .95 | – |" in made
    assert "| dog | 0.744 | 0.300 |" in made and "| cat | – | 0.300 |" in made
    assert "| proposals | Selective Search, fast mode, 20 an image at most |" in made


def test_a_page_is_renewed_between_its_marks_only(artifact: Path, tmp_path: Path) -> None:
    page = tmp_path / "README.md"
    page.write_text(f"before\n{BEGIN}\nold\n<!-- end: detector card -->\nafter\n")
    for _ in range(2):  # the second time over its own
        done = CliRunner().invoke(main, ["card", str(artifact), "--into", str(page)])
        assert (done.exit_code, done.output) == (0, "")
        text = page.read_text()
        assert text.startswith(f"before\n{BEGIN}\n\n| what") and text.endswith(
            "|\n\n<!-- end: detector card -->\nafter\n"
        )
        assert "old" not in text and text.count("| backbone |") == 1


@pytest.mark.parametrize("text", ["", "no marks\n", f"{BEGIN}\nno end\n"])
def test_a_page_without_marks_stays_as_it_is(artifact: Path, tmp_path: Path, text: str) -> None:
    page = tmp_path / "README.md"
    page.write_text(text)
    done = CliRunner().invoke(main, ["card", str(artifact), "--into", str(page)])
    assert done.exit_code == 2 and "has no place for the tables" in done.output
    assert page.read_text() == text


def test_a_folder_that_is_no_artifact_has_no_card(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"model.json is missing"):
        tables(tmp_path)
