from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from benchmarks import sweep
from detector.data.annotations import CocoDataset, save_coco
from detector.runtime.artifact import load_artifact
from tests.support.datasets import image_info


@pytest.fixture
def searching(make_artifact: Callable[..., Path], tmp_path: Path) -> Path:
    return make_artifact(tmp_path / "model")


def test_variants_change_one_thing_each(searching: Path, artifact: Path) -> None:
    own = load_artifact(searching)
    found = sweep.variants(own, [32, 96], [5])
    assert [a.preprocessing.width for a in found.values()] == [32, 96, own.preprocessing.width]
    assert [a.decoding.proposals.max_boxes for a in found.values() if a.decoding.proposals] == [20, 20, 5]
    assert sweep.variants(own, [], []) == {"as exported": own}
    with pytest.raises(click.ClickException, match="their number is part of the graph"):
        sweep.variants(load_artifact(artifact), [], [5])


def test_the_table_has_a_row_a_variant(searching: Path, tmp_path: Path) -> None:
    dataset = tmp_path / "dataset"
    (dataset / "images").mkdir(parents=True)
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (48, 64, 3)).astype(np.uint8)).save(
        dataset / "images/1.png"
    )
    image = image_info(1, [[4, 4, 30, 30]], 1, size=(64, 48))
    save_coco(CocoDataset(("cat", "dog", "tree"), (image,)), dataset / "test.json")
    words = ["--image-sizes", "32,64", "--budgets", "5", "--artifact", str(searching), "--dataset", str(dataset)]
    result = CliRunner().invoke(sweep.main, words, catch_exceptions=False)
    rows = [line for line in result.stdout.splitlines() if line.startswith(("| image size", "| RoI budget"))]
    assert [row.split(" | ")[0] for row in rows] == ["| image size 32", "| image size 64", "| RoI budget 5"]
    assert all(row.count(" | ") == 6 for row in rows)
