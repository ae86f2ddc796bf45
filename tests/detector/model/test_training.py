from collections.abc import Callable
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
import torch

from detector.common.errors import TrainingError
from detector.data.annotations import CocoDataset
from detector.model.checkpoint import load_checkpoint
from detector.model.distributed import World
from detector.model.fast_rcnn import FastRCNN
from detector.model.training import EpochReport, train
from detector.model.validation import Figures
from detector.params import TrainSettings
from detector.proposals.store import Proposals

pytestmark = pytest.mark.slow

TrainingSet = tuple[Path, CocoDataset, Proposals]


class Killed(BaseException):
    pass


@pytest.fixture
def trainer(
    new_network: Callable[..., FastRCNN],
    train_settings: Callable[..., TrainSettings],
    training_set: TrainingSet,
    tmp_path: Path,
) -> Callable[..., tuple[torch.nn.Module, list[EpochReport]]]:
    """(checkpoint's name, settings...) -> the trained network and its reports; kill_after: an epoch."""

    def run(
        checkpoint: str = "last.pt",
        *,
        identity: str = "this",
        kill_after: int = 0,
        data: TrainingSet = training_set,
        dropout: float = 0.0,
        precision: str = "fp32",
        validate: Callable[[torch.nn.Module], Figures] | None = None,
        world: World = World(),  # noqa: B008 (frozen)
        **changes: object,
    ) -> tuple[torch.nn.Module, list[EpochReport]]:
        reports: list[EpochReport] = []

        def report(epoch: EpochReport) -> None:
            reports.append(epoch)
            if epoch.epoch == kill_after:
                raise Killed

        trained = train(
            new_network(dropout=dropout), *data, train_settings(**changes), device=torch.device("cpu"),
            precision=precision, checkpoint=str(tmp_path / checkpoint), identity=identity, report=report,
            validate=validate, world=world,
        )  # fmt: skip
        return trained, reports

    return run


class Judge:
    """Gives the epochs these APs, in turn, and keeps the networks' weights."""

    def __init__(self, *aps: float) -> None:
        self.aps, self.seen = list(aps), []

    def __call__(self, network: torch.nn.Module) -> Figures:
        self.seen.append({name: value.clone() for name, value in network.state_dict().items()})
        return Figures(self.aps.pop(0), 0.9)


def equal(a: torch.nn.Module, b: torch.nn.Module) -> bool:
    other = b.state_dict()
    return all(torch.equal(value, other[name]) for name, value in a.state_dict().items())


def test_the_loss_falls(trainer: Callable[..., tuple[torch.nn.Module, list[EpochReport]]]) -> None:
    _, reports = trainer(epochs=5)
    assert [r.epoch for r in reports] == [1, 2, 3, 4, 5]
    assert reports[0].losses["class"] == pytest.approx(np.log(4), abs=0.4)  # four classes, nothing known yet
    assert reports[-1].losses["class"] < 0.85 * reports[0].losses["class"]
    assert 0 <= reports[-1].learning_rate < reports[0].learning_rate


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_killed_training_that_resumes_ends_where_it_would_have(
    trainer: Callable[..., tuple[torch.nn.Module, list[EpochReport]]], precision: str
) -> None:
    """The stopped one is measured after each epoch too, which changes nothing of the training."""
    options = {"precision": precision, "dropout": 0.3, "image_sizes": [32, 64]}
    judge = Judge(0.1, 0.2)
    whole, _ = trainer("whole.pt", **options)
    with pytest.raises(Killed):
        trainer("stopped.pt", kill_after=1, validate=judge, **options)
    resumed, reports = trainer("stopped.pt", validate=judge, **options)
    assert [r.epoch for r in reports] == [1, 2]  # the log of a resumed training is whole
    assert equal(whole, resumed)


def test_a_finished_training_is_not_run_again_and_another_one_is_not_resumed(
    trainer: Callable[..., tuple[torch.nn.Module, list[EpochReport]]], tmp_path: Path
) -> None:
    trained, first = trainer(epochs=1)
    again, reports = trainer(epochs=1)
    assert reports == first and equal(trained, again)  # the same seconds: reported again, not run again
    other, reports = trainer(epochs=1, identity="other", seed=4)
    assert [r.epoch for r in reports] == [1] and not equal(trained, other)
    assert load_checkpoint(str(tmp_path / "last.pt"), "this") is None
    assert load_checkpoint(str(tmp_path / "last.pt"), "other")["reports"][0]["epoch"] == 1


def only(training_set: TrainingSet, index: int) -> TrainingSet:
    folder, truth, proposals = training_set
    boxes = proposals[index]
    return folder, CocoDataset(truth.classes, (truth.images[index],)), Proposals(boxes, np.array([0, len(boxes)]))


@pytest.mark.parametrize("what", ["no object", "no proposal", "neither"])
def test_images_without_objects_or_proposals_train(
    trainer: Callable[..., tuple[torch.nn.Module, list[EpochReport]]], training_set: TrainingSet, what: str
) -> None:
    folder, truth, proposals = only(training_set, 4 if what == "no proposal" else 3)
    if what == "neither":
        proposals = Proposals(np.zeros((0, 4), np.float32), np.array([0, 0]))
    assert len(truth.images[0].boxes) == (what == "no proposal") and len(proposals.boxes) == (what == "no object") * 12
    trained, reports = trainer(data=(folder, truth, proposals), epochs=1)
    assert (reports[0].losses["class"] > 0) == (what != "neither")
    assert all(torch.isfinite(value).all() for value in trained.state_dict().values())


def test_frozen_blocks_and_statistics_stay_and_the_rest_moves(
    trainer: Callable[..., tuple[torch.nn.Module, list[EpochReport]]], new_network: Callable[..., FastRCNN]
) -> None:
    before = new_network().state_dict()
    trained, _ = trainer(epochs=1, frozen_blocks=2)
    kept = {name for name, value in trained.state_dict().items() if torch.equal(value, before[name])}
    frozen = ("backbone.stem", "backbone.blocks.0.", "backbone.blocks.1.")
    for name in before:
        if name.startswith(("pyramid.smooth.1.", "pyramid.smooth.2.")):
            continue  # no box here is large enough to be read from the coarser levels
        assert (name in kept) == (name.startswith(frozen) or "running_" in name), name


def test_the_average_lags_behind_the_last_weights(
    trainer: Callable[..., tuple[torch.nn.Module, list[EpochReport]]], tmp_path: Path
) -> None:
    average, _ = trainer("averaged.pt", epochs=1)
    last = load_checkpoint(str(tmp_path / "averaged.pt"), "this")["network"]
    plain, _ = trainer("plain.pt", epochs=1, average=0.0)
    assert not torch.equal(average.state_dict()["head.classes.weight"], last["head.classes.weight"])
    assert all(torch.equal(value, last[name]) for name, value in plain.state_dict().items())


def test_a_loss_that_is_no_number_ends_the_training_and_says_what_to_do(
    trainer: Callable[..., tuple[torch.nn.Module, list[EpochReport]]], tmp_path: Path
) -> None:
    with pytest.raises(TrainingError, match=r"in epoch 1: lower train\.learning_rate \(now 1e\+20\)"):
        trainer(learning_rate=1e20)
    assert not (tmp_path / "last.pt").exists()


def is_epoch(trained: torch.nn.Module, weights: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(value, weights[name]) for name, value in trained.state_dict().items())


class Recording(World):
    """Keeps what this process says of the epochs that were not better, and is answered that they are too many."""

    asked: ClassVar[list[float]] = []

    def sum(self, values: dict[str, float]) -> dict[str, float]:
        if "waited" not in values:
            return values
        self.asked.append(values["waited"])
        return {"waited": 9.0}


@pytest.mark.parametrize(("aps", "best", "average"), [((0.3, 0.2), 0, 0.9), ((0.0, 0.0), 1, 0.0)])
def test_the_result_is_the_best_epoch_and_of_equal_ones_the_last(
    trainer: Callable[..., tuple[torch.nn.Module, list[EpochReport]]],
    aps: tuple[float, ...],
    best: int,
    average: float,
) -> None:
    judge = Judge(*aps)
    trained, reports = trainer(epochs=len(aps), validate=judge, average=average)
    assert [report.validation for report in reports] == [{"ap": ap, "ap_50": 0.9} for ap in aps]
    assert [is_epoch(trained, weights) for weights in judge.seen] == [epoch == best for epoch in range(len(aps))]


def test_a_training_without_patience_ends_early_and_resumes_to_the_same_end(
    trainer: Callable[..., tuple[torch.nn.Module, list[EpochReport]]],
) -> None:
    aps = (0.3, 0.2, 0.9)
    judge = Judge(*aps)
    with pytest.raises(Killed):
        trainer(kill_after=1, epochs=3, patience=1, validate=judge)
    resumed, reports = trainer(epochs=3, patience=1, validate=judge)
    assert [report.epoch for report in reports] == [1, 2] and is_epoch(resumed, judge.seen[0])
    again, _ = trainer(epochs=3, patience=1, validate=judge)  # it has ended: nothing is measured again
    assert judge.aps == [0.9] and equal(resumed, again)
    # The processes' numbers are added, and another process has read the same checkpoint.
    other = Recording(rank=1)
    trainer(epochs=3, patience=1, world=other)
    assert other.asked == [0.0]
