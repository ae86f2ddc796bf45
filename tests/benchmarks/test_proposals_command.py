import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result
from PIL import Image

from benchmarks.proposals.__main__ import main
from tests.support.datasets import write_scenes

FAST = "ours-fast,sliding-window,random"


@pytest.fixture(scope="session")
def split(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A COCO file of three generated scenes, and their images beside it."""
    return write_scenes(tmp_path_factory.mktemp("split"), {"scenes": 3})


def run(*arguments: object) -> Result:
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_a_table_the_figures_and_an_image(split: Path, tmp_path: Path) -> None:
    result = run("--annotations", split / "scenes.json", "--tools", FAST, "--limit", 2, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    rows = [line for line in result.stdout.splitlines() if line.startswith("| ")]
    assert [row.split(" | ")[0] for row in rows[2:]] == ["| Boxcar fast", "| sliding window", "| random boxes"]
    # Without OpenCV there is nothing to be as fast as.
    assert rows[2].split(" | ")[2] == "–"
    document = json.loads((tmp_path / "proposals.json").read_text())
    assert document["images"] == ["1.png", "2.png"]
    ours, windows = document["tools"]["ours-fast"], document["tools"]["sliding-window"]
    assert len(ours["seconds"]) == len(ours["boxes"]) == 2 and windows["seconds"] is None
    assert ours["milliseconds"] == pytest.approx(1000 * np.mean(ours["seconds"]), rel=0.01)
    # It looks at the image, and that helps.
    assert ours["curve"]["mabo"][-1] > windows["curve"]["mabo"][-1] > 0.5
    with Image.open(tmp_path / "proposals.png") as picture:
        assert picture.width == 1600


def test_speeds_are_relative_to_opencv(split: Path, tmp_path: Path) -> None:
    pytest.importorskip("cv2")
    tools = "ours-fast,opencv-fast"
    result = run("--annotations", split / "scenes.json", "--tools", tools, "--limit", 1, "--out", tmp_path)
    assert result.exit_code == 0, result.output
    found = json.loads((tmp_path / "proposals.json").read_text())["tools"]
    assert found["opencv-fast"]["times_as_fast"] == {"median": 1.0, "tenth": 1.0}
    ratio = found["opencv-fast"]["seconds"][0] / found["ours-fast"]["seconds"][0]
    assert found["ours-fast"]["times_as_fast"]["median"] == pytest.approx(ratio, rel=0.01)


def test_references_alone_are_a_table_too(split: Path, tmp_path: Path) -> None:
    result = run("--annotations", split / "scenes.json", "--tools", "random", "--out", tmp_path)
    assert result.exit_code == 0, result.output
    assert "| random boxes | – | – | 10,000 |" in result.stdout


def test_what_was_wrong_is_said(split: Path, tmp_path: Path) -> None:
    scenes = split / "scenes.json"
    unknown = run("--annotations", scenes, "--tools", "ours-fast,edge-boxes")
    assert unknown.exit_code == 2 and "edge-boxes: choose from ours-fast," in unknown.output
    missing = run("--annotations", tmp_path / "none.json", "--tools", FAST)
    assert missing.exit_code == 1 and "none.json" in missing.output and "dvc repro fetch" in missing.output
    no_folder = run("--annotations", scenes, "--images", tmp_path, "--tools", FAST)
    assert no_folder.exit_code == 1 and str(tmp_path / "1.png") in no_folder.output


def test_an_image_of_another_size_stops_the_run(split: Path, tmp_path: Path) -> None:
    for path in (split / "images").iterdir():
        with Image.open(path) as picture:
            picture.resize((31, 17)).save(tmp_path / path.name)
    result = run("--annotations", split / "scenes.json", "--images", tmp_path, "--tools", FAST, "--out", tmp_path)
    assert result.exit_code == 1 and "31x17" in result.output
    assert not (tmp_path / "proposals.json").exists()


def test_without_objects_there_is_nothing_to_measure(split: Path, tmp_path: Path) -> None:
    path = tmp_path / "empty.json"
    document = json.loads((split / "scenes.json").read_text())
    document["annotations"] = [row | {"ignore": 1} for row in document["annotations"]]
    path.write_text(json.dumps(document))
    result = run("--annotations", path, "--images", split / "images", "--tools", FAST, "--out", tmp_path)
    assert result.exit_code == 1 and "nothing to find" in result.output
