"""Compare two processes on this machine with one that has the doubled batch."""

import os
import socket
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import multiprocessing

from detector.data.annotations import CocoDataset
from detector.model.distributed import World, join
from detector.model.family import build
from detector.model.training import EpochReport, train
from detector.model.training_images import LikeShapes
from detector.params import ModelSettings, TrainSettings
from detector.proposals.store import Proposals
from tests.support.datasets import image_info

pytestmark = pytest.mark.slow

Inputs = tuple[ModelSettings, TrainSettings, Path, CocoDataset, Proposals]


def pictures(folder: Path, count: int) -> tuple[CocoDataset, Proposals]:
    """`count` images of one shape, each with one object and 30 proposals: as many regions in each."""
    images, boxes = [], []
    for number in range(count):
        random = np.random.default_rng(number)
        Image.fromarray(random.integers(0, 256, (64, 96, 3)).astype(np.uint8)).save(folder / f"{number}.png")
        truth = np.array([[10, 8, 50, 40]]) + number
        images.append(image_info(number + 1, truth, number % 3, size=(96, 64), file_name=f"{number}.png"))
        low = random.uniform(0, 40, (30, 2))
        boxes.append(np.concatenate([low, low + random.uniform(5, 20, (30, 2))], axis=1).astype(np.float32))
    return CocoDataset(("cat", "dog", "tree"), tuple(images)), Proposals(
        np.concatenate(boxes), np.arange(0, 30 * count + 1, 30)
    )


def run(inputs: Inputs, checkpoint: Path, world: World) -> tuple[list[EpochReport], torch.nn.Module]:
    model, settings, folder, truth, proposals = inputs
    torch.manual_seed(0)
    reports: list[EpochReport] = []
    trained = train(
        build(model, 3), folder, truth, proposals, settings, device=torch.device("cpu"), precision="fp32",
        checkpoint=str(checkpoint), identity="this", report=reports.append, world=world,
    )  # fmt: skip
    return reports, trained


def process(rank: int, port: int, trainings: dict[str, Inputs], out: Path) -> None:
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "RANK": str(rank), "WORLD_SIZE": "2"}
    torch.set_num_threads(1)
    with join(torch.device("cpu")) as world:
        assert (world.rank, world.size, world.first) == (rank, 2, rank == 0)
        for name, inputs in trainings.items():
            reports, trained = run(inputs, out / f"{name}.pt", world)
            assert bool(reports) == world.first
            content = {"losses": [r.losses for r in reports], "network": trained.state_dict()}
            torch.save(content, out / f"{name}-{rank}.pt")


def test_two_processes_train_as_one_with_the_doubled_batch(
    model_settings: Callable[..., ModelSettings], train_settings: Callable[..., TrainSettings], tmp_path: Path
) -> None:
    """Both networks in the same two processes, because these take longer to start than to train."""
    truth, proposals = pictures(tmp_path, 7)  # batches of 4 and 3: the slices of the last differ
    options = {"epochs": 2, "image_sizes": [96], "average": 0.5, "learning_rate": 0.001}

    def inputs(name: str, batch_size: int) -> Inputs:
        settings = train_settings(batch_size=batch_size, **options)
        return model_settings(name=name), settings, tmp_path, truth, proposals

    names = ("fast_rcnn", "faster_rcnn")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    multiprocessing.spawn(process, (port, {name: inputs(name, 2) for name in names}, tmp_path), nprocs=2)
    for name in names:
        alone, _ = run(inputs(name, 4), tmp_path / f"{name}-alone.pt", World())
        first, second = (torch.load(tmp_path / f"{name}-{rank}.pt", weights_only=True) for rank in range(2))
        assert len(alone) == len(first["losses"]) == 2
        for one, both in zip(alone, first["losses"], strict=True):
            assert both == pytest.approx(one.losses, rel=2e-3)
        assert both != pytest.approx(alone[0].losses, rel=2e-3)  # the epochs differ by more than the processes do
        assert all(torch.equal(value, second["network"][key]) for key, value in first["network"].items())


def test_slices_are_the_whole_batch_and_weigh_as_much(
    train_settings: Callable[..., TrainSettings], tmp_path: Path
) -> None:
    truth, _ = pictures(tmp_path, 9)
    whole = LikeShapes(truth, train_settings(batch_size=8, image_sizes=(64, 96), seed=1), 0)
    own = train_settings(batch_size=4, image_sizes=(64, 96), seed=1)
    slices = [LikeShapes(truth, own, 0, World(rank, 2)) for rank in range(2)]
    for batch, *parts in zip(whole, *slices, strict=True):
        assert sorted(set(parts[0] + parts[1])) == sorted(batch)
    weights = [own.weights for own in slices]
    assert {tuple(pair) for pair in zip(*weights, strict=True)} == {(1.0, 1.0), (2.0, 0.0)}  # 8 images, and the ninth
    assert whole.weights == [1.0, 1.0]


def test_without_torchrun_there_is_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    with join(torch.device("cpu")) as world:
        assert world == World() and world.sum({"a": 2.0}) == {"a": 2.0}
