"""Every member of the family keeps these promises."""

from collections.abc import Callable
from pathlib import Path
from typing import get_args

import numpy as np
import onnxruntime
import pytest
import torch

from detector.data.annotations import CocoDataset
from detector.model.family import FAMILY, build
from detector.model.network import DetectionNetwork
from detector.model.trained import load_trained, save_trained
from detector.model.training import EpochReport, train
from detector.model.training_images import Example, TrainingImages, collate
from detector.model.weights_file import Making
from detector.params import ModelSettings, TrainSettings
from detector.proposals.store import Proposals

pytestmark = pytest.mark.slow

TrainingSet = tuple[Path, CocoDataset, Proposals]
MEMBERS = sorted(FAMILY)
READ_PROPOSALS = ("sliding_window", "rcnn", "fast_rcnn")
# All members as they are run, and with their other heads.
VARIANTS = [{"name": name} for name in MEMBERS] + [
    {"name": "rcnn", "head": "svm"},
    {"name": "fast_rcnn", "head": "light"},
    {"name": "faster_rcnn", "head": "light"},
    {"name": "cascade_rcnn", "head": "light"},
]

every_member = pytest.mark.parametrize("name", MEMBERS)
every_variant = pytest.mark.parametrize("variant", VARIANTS, ids=lambda variant: "-".join(variant.values()))


class Killed(BaseException):
    pass


def test_the_params_know_every_member(model_settings: Callable[..., ModelSettings]) -> None:
    assert set(FAMILY) == set(get_args(ModelSettings.model_fields["name"].annotation))
    for name, member in FAMILY.items():
        network = build(model_settings(name=name, start_from="no/such/file"), 7, weights="none")
        assert type(network) is member


@every_member
def test_the_loss_falls(
    new_network: Callable[..., DetectionNetwork],
    train_settings: Callable[..., TrainSettings],
    training_set: TrainingSet,
    name: str,
) -> None:
    network, settings = new_network(name=name), train_settings()
    images = TrainingImages(*training_set, limit=20, seed=0, augment=("flip",))
    batch, examples = collate([images[index, 64, 0] for index in (0, 2, 3)])
    optimiser = torch.optim.AdamW(network.parameters(), lr=0.003)
    history = []
    for _ in range(8):
        losses = network(batch, examples, settings)
        history.append({part: loss.item() for part, loss in losses.items()})
        optimiser.zero_grad()
        losses["total"].backward()
        optimiser.step()
    assert history[0]["class"] == pytest.approx(np.log(4), abs=0.4)  # four classes, nothing known yet
    assert history[-1]["total"] < 0.8 * history[0]["total"]
    assert ("box" in history[0]) == (name != "sliding_window")


@pytest.mark.parametrize("name", [name for name in MEMBERS if name != "fast_rcnn"])  # that one: test_training
def test_a_killed_training_that_resumes_ends_where_it_would_have(
    new_network: Callable[..., DetectionNetwork],
    train_settings: Callable[..., TrainSettings],
    training_set: TrainingSet,
    tmp_path: Path,
    name: str,
) -> None:
    folder, truth, proposals = training_set
    data = folder, CocoDataset(truth.classes, truth.images[:3]), Proposals(proposals.boxes, proposals.starts[:4])
    settings = train_settings(image_sizes=[32, 64], batch_size=3)

    def run(checkpoint: str, kill: bool = False) -> DetectionNetwork:
        def report(epoch: EpochReport) -> None:
            if kill:
                raise Killed

        return train(
            new_network(name=name, dropout=0.3), *data, settings, device=torch.device("cpu"), precision="bf16",
            checkpoint=str(tmp_path / checkpoint), identity="this", report=report,
        )  # fmt: skip

    whole = run("whole.pt")
    with pytest.raises(Killed):
        run("stopped.pt", kill=True)
    other = run("stopped.pt").state_dict()
    assert all(torch.equal(value, other[key]) for key, value in whole.state_dict().items())


@every_member
@pytest.mark.parametrize("objects", [False, True])
@pytest.mark.parametrize("proposals", [False, True])
def test_an_image_without_objects_or_proposals_trains(
    new_network: Callable[..., DetectionNetwork],
    train_settings: Callable[..., TrainSettings],
    random_boxes: Callable[..., torch.Tensor],
    name: str,
    objects: bool,
    proposals: bool,
) -> None:
    network = new_network(name=name)
    truth = random_boxes(2 * objects, 64, 96)
    none = torch.zeros(len(truth), dtype=torch.bool)
    image = torch.randn(3, 64, 96, generator=torch.Generator().manual_seed(0))
    example = Example(image, random_boxes(6 * proposals, 64, 96, 1), truth, torch.arange(len(truth)) + 1, none, none, 5)
    losses = network(image[None], [example], train_settings())
    losses["total"].backward()
    assert all(torch.isfinite(loss) for loss in losses.values())
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())
    learnt = objects or proposals or name not in READ_PROPOSALS
    assert (losses["class"] > 0) == learnt


@every_member
def test_what_is_drawn_for_an_image_does_not_depend_on_its_batch(
    lively_network: Callable[..., DetectionNetwork],
    train_settings: Callable[..., TrainSettings],
    random_boxes: Callable[..., torch.Tensor],
    name: str,
) -> None:
    network = lively_network(name=name).train()
    images = torch.randn(2, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    no = torch.zeros(1, dtype=torch.bool)
    examples = [
        Example(
            images[i], random_boxes(200, 64, 96, i + 1), random_boxes(1, 64, 96, i + 9), torch.tensor([1]), no, no, i
        )
        for i in range(2)
    ]
    with torch.no_grad():
        both = network(images, examples, train_settings())
        alone = [network(images[i : i + 1], examples[i : i + 1], train_settings()) for i in range(2)]
    for part, value in both.items():  # as many regions of each
        torch.testing.assert_close(value, (alone[0][part] + alone[1][part]) / 2, rtol=1e-3, atol=1e-4)


@every_variant
def test_detections_have_the_promised_shapes(
    lively_network: Callable[..., DetectionNetwork],
    random_boxes: Callable[..., torch.Tensor],
    variant: dict[str, str],
) -> None:
    network = lively_network(**variant)
    image = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    for count in (0, 1, 7):
        with torch.inference_mode():
            scores, boxes = network.detect(image, random_boxes(count, 64, 96), 5)
        found = {"single_object": (1,), "faster_rcnn": (1, 5), "cascade_rcnn": (1, 5)}.get(variant["name"], (count,))
        assert scores.shape == (*found, 3) and boxes.shape == (*found, 3, 4)
        assert scores.dtype == boxes.dtype == torch.float32
        assert ((scores >= 0) & (scores <= 1)).all()


@every_variant
def test_onnx_runtime_gives_torchs_numbers(
    lively_network: Callable[..., DetectionNetwork],
    exact_session: Callable[..., onnxruntime.InferenceSession],
    random_boxes: Callable[..., torch.Tensor],
    variant: dict[str, str],
) -> None:
    network = lively_network(**variant)
    session = exact_session(network)
    reads = variant["name"] in READ_PROPOSALS
    assert {item.name for item in session.get_inputs()} == ({"image", "proposals"} if reads else {"image"})
    for (height, width), count in (((32, 32), 1), ((64, 96), 12), ((160, 64), 0), ((96, 256), 64)):
        image = torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(height))
        proposals = random_boxes(count, height, width)
        with torch.inference_mode():
            scores, boxes = network.detect(image, proposals, 50)
        feed = {"image": image.numpy()} | ({"proposals": proposals.numpy()} if reads else {})
        found_scores, found_boxes = session.run(["scores", "boxes"], feed)
        torch.testing.assert_close(torch.from_numpy(found_scores), scores, rtol=0, atol=5e-4)
        torch.testing.assert_close(torch.from_numpy(found_boxes), boxes, rtol=1e-4, atol=5e-2)
        if count == 64:
            assert scores.std() > 0.02  # the comparison is one of numbers that differ


@every_variant
def test_a_trained_network_comes_back(
    lively_network: Callable[..., DetectionNetwork],
    model_settings: Callable[..., ModelSettings],
    tmp_path: Path,
    variant: dict[str, str],
) -> None:
    network = lively_network(**variant)
    making = Making({"model": model_settings(**variant).model_dump(mode="json")}, ("cat", "dog", "tree"))
    save_trained(tmp_path / "weights", network, making)
    loaded, _ = load_trained(tmp_path / "weights")
    image, proposals = torch.randn(1, 3, 32, 64), torch.tensor([[2.0, 3, 50, 20]])
    with torch.inference_mode():
        pairs = zip(loaded.detect(image, proposals, 9), network.detect(image, proposals, 9), strict=True)
    for found, expected in pairs:
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-3)
