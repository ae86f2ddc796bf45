from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from torchvision.models.detection.image_list import ImageList
from torchvision.models.detection.rpn import RegionProposalNetwork
from torchvision.ops import box_iou

from detector.model.network import DetectionNetwork
from detector.model.proposal_network import ProposalNetwork
from detector.model.roi_pool import numbered
from detector.model.training_images import Example

HEIGHT, WIDTH = 96, 128


@pytest.fixture
def rpn() -> ProposalNetwork:
    torch.manual_seed(0)
    network = ProposalNetwork(8, (8, 16, 32))
    for name, parameter in network.named_parameters():
        if name.endswith("weight"):
            parameter.data.normal_(0, 0.2)
    return network


def features(images: int, seed: int = 0) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(images, 8, HEIGHT // s, WIDTH // s, generator=generator) for s in (8, 16, 32)]


def example(boxes: list[list[float]], ignore: list[bool] | None = None, seed: int = 0) -> Example:
    truth = torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)
    flags = torch.tensor(ignore or [False] * len(truth), dtype=torch.bool)
    return Example(
        torch.zeros(3, HEIGHT, WIDTH), torch.zeros(0, 4), truth, torch.ones(len(truth), dtype=torch.int64), flags,
        flags & False, seed,
    )  # fmt: skip


def target(boxes: torch.Tensor, ignore: torch.Tensor, crowd: bool = False) -> dict[str, torch.Tensor]:
    flags = torch.full((len(ignore),), crowd)
    return {"boxes": boxes, "ignore": ignore, "crowd": flags, "frame": torch.tensor([float(WIDTH), HEIGHT])}


IMAGES = torch.zeros(1, 3, HEIGHT, WIDTH)
OBJECT = [20.0, 20, 61, 61]


def test_proposals_lie_in_the_image_best_first_and_without_near_repeats(rpn: ProposalNetwork) -> None:
    rpn.eval()
    with torch.inference_mode():
        (found,), (there,) = rpn.propose(IMAGES, features(1), 60)
        (fewer,), _ = rpn.propose(IMAGES, features(1), 7)
    assert found.shape == (60, 4) and there.all() and torch.equal(fewer, found[:7])
    assert (found >= 0).all() and (found[:, 2] <= WIDTH).all() and (found[:, 3] <= HEIGHT).all()
    assert (found[:, 2:] > found[:, :2]).all()
    # Torchvision suppresses within a level: between levels two may agree.
    overlap = box_iou(found, found) - torch.eye(60)
    assert (overlap > 0.7).float().mean() < 0.01


@pytest.mark.parametrize("most", [40, 5000])
def test_proposals_are_torchvisions_for_every_image_of_a_batch(rpn: ProposalNetwork, most: int) -> None:
    rpn.eval()
    rpn._pre_nms_top_n["testing"] = rpn._post_nms_top_n["testing"] = min(1000, 3 * most)
    images, maps = IMAGES.expand(3, -1, -1, -1), features(3)
    maps[0][2] *= 0.01  # one image has little in it
    with torch.inference_mode():
        found, there = rpn.propose(images, maps, most)
        expected, _ = RegionProposalNetwork.forward(
            rpn, ImageList(images, [(HEIGHT, WIDTH)] * 3), {str(level): own for level, own in enumerate(maps)}
        )
    assert there.all() == (most == 40)  # a large number fills up with rows that are not there
    for own, kept, theirs in zip(found, there, expected, strict=True):
        # Boxes of equal scores may change places.
        pairs = [sorted(boxes.round(decimals=3).tolist()) for boxes in (own[kept], theirs[:most])]
        np.testing.assert_allclose(*pairs, rtol=1e-5, atol=2e-3)


def test_the_batch_does_not_decide_which_anchors_are_drawn(rpn: ProposalNetwork) -> None:
    both, maps = [example([OBJECT], seed=4), example([], seed=9)], features(2)
    images = IMAGES.expand(2, -1, -1, -1)
    proposals, losses = rpn.learn(images, maps, both, 30)
    alone = [rpn.learn(IMAGES, [m[i : i + 1] for m in maps], [both[i]], 30) for i in range(2)]
    for i in range(2):
        torch.testing.assert_close(proposals[i], alone[i][0][0], rtol=1e-4, atol=1e-3)
    # Both draw 256 anchors, so that the batch's mean is the mean of the two.
    for part, value in losses.items():
        torch.testing.assert_close(value, (alone[0][1][part] + alone[1][1][part]) / 2, rtol=1e-4, atol=1e-5)
    other = rpn.learn(IMAGES, [m[:1] for m in maps], [example([OBJECT], seed=5)], 30)[1]
    assert other["objectness"] != alone[0][1]["objectness"]


def test_an_image_without_objects_teaches_background_and_no_boxes(rpn: ProposalNetwork) -> None:
    proposals, losses = rpn.learn(IMAGES, features(1), [example([])], 12)
    assert proposals[0].shape == (12, 4)
    assert losses["objectness"] > 0 and losses["rpn_box"] == 0
    (losses["objectness"] + losses["rpn_box"]).backward()
    assert all(torch.isfinite(p.grad).all() for p in rpn.parameters() if p.grad is not None)


def test_anchors_on_ignored_objects_are_neither(rpn: ProposalNetwork) -> None:
    maps = features(1)
    anchors = rpn.anchor_generator(type("Images", (), {"tensors": IMAGES, "image_sizes": [(HEIGHT, WIDTH)]})(), maps)
    there, none = torch.tensor([OBJECT]), torch.zeros(0, 4)
    wanted, _ = rpn.assign_targets_to_anchors(anchors, [target(there, none)])
    ignored, _ = rpn.assign_targets_to_anchors(anchors, [target(none, there)])
    near = box_iou(anchors[0], there)[:, 0] >= 0.5
    assert near.any() and (wanted[0] == 1).any()
    assert (ignored[0][near] == -1).all() and (ignored[0][~near] == 0).all()
    # An object to learn stays one, even where it lies on an ignored one.
    both, _ = rpn.assign_targets_to_anchors(anchors, [target(there, there)])
    assert torch.equal(both[0] == 1, wanted[0] == 1)


def test_anchors_in_a_crowd_are_neither(rpn: ProposalNetwork) -> None:
    maps, none = features(1), torch.zeros(0, 4)
    anchors = rpn.anchor_generator(ImageList(IMAGES, [(HEIGHT, WIDTH)]), maps)
    crowd = torch.tensor([[0.0, 0, 90, 96]])
    labels, _ = rpn.assign_targets_to_anchors(anchors, [target(none, crowd, crowd=True)])
    inside = (anchors[0][:, :2] >= 0).all(dim=1) & (anchors[0][:, 2] <= 90) & (anchors[0][:, 3] <= 96)
    assert inside.sum() > 100 and (labels[0][inside] == -1).all() and (labels[0] == 0).any()


def test_padding_that_only_the_batch_has_is_not_drawn_from(rpn: ProposalNetwork) -> None:
    # An image of 64x96 beside one of 96x128: what is drawn for it is what is drawn for it alone.
    small = replace(example([OBJECT], seed=4), image=torch.zeros(3, 64, 96))
    maps = features(2)
    drawn: list[torch.Tensor] = []
    sampler = rpn.fg_bg_sampler

    class Spy:
        generators = property(
            lambda self: sampler.generators, lambda self, value: setattr(sampler, "generators", value)
        )

        def __call__(self, labels: list[torch.Tensor]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
            positive, negative = sampler(labels)
            drawn.append(positive[0] | negative[0])
            return positive, negative

    rpn.fg_bg_sampler = Spy()
    rpn.learn(IMAGES.expand(2, -1, -1, -1), maps, [small, example([])], 30)
    alone = [m[:1, :, : 64 // s, : 96 // s] for m, s in zip(maps, (8, 16, 32), strict=True)]
    rpn.learn(torch.zeros(1, 3, 64, 96), alone, [small], 30)
    together, single = (
        rpn.anchor_generator(ImageList(images, [tuple(images.shape[2:])]), list(own))[0][mask]
        for images, own, mask in (
            (IMAGES, [m[:1] for m in maps], drawn[0]),
            (torch.zeros(1, 3, 64, 96), alone, drawn[1]),
        )
    )
    assert len(single) == 256 and torch.equal(together, single)


def test_half_of_256_anchors_are_objects_at_most(rpn: ProposalNetwork) -> None:
    labels = torch.cat([torch.ones(300), torch.zeros(900), -torch.ones(100)])
    for own, objects, background in (
        (labels, 128, 128), (labels[290:], 10, 246), (labels[:310], 128, 10), (labels[:0], 0, 0), (labels[1200:], 0, 0),
    ):  # fmt: skip
        rpn.fg_bg_sampler.generators = [torch.Generator().manual_seed(0)]
        (positive,), (negative,) = rpn.fg_bg_sampler([own])
        assert (int(positive.sum()), int(negative.sum())) == (objects, background)
        assert (own[positive] == 1).all() and (own[negative] == 0).all()


def test_anchors_are_set_for_three_levels() -> None:
    with pytest.raises(ValueError, match="3 levels, not 4"):
        ProposalNetwork(8, (4, 8, 16, 32))


def test_faster_rcnn_scores_its_own_proposals(lively_network: Callable[..., DetectionNetwork]) -> None:
    network = lively_network(name="faster_rcnn")
    image = torch.randn(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        scores, boxes = network.detect(image, torch.zeros(0, 4), 20)
        maps = network.features(image)
        own = numbered([network.rpn.propose(image, maps, 20)[0][0]])
        logits, _ = network.regions(network.region_maps(maps), own, network.head)
        again = network.detect(image, torch.rand(3, 4) * 90, 20)
    assert scores.shape == (1, 20, 3) and boxes.shape == (1, 20, 3, 4)
    torch.testing.assert_close(scores[0], logits.softmax(dim=1)[:, 1:], rtol=1e-4, atol=1e-5)
    assert torch.equal(again[0], scores)  # given proposals are not read


def test_faster_rcnns_losses_add_up(
    new_network: Callable[..., DetectionNetwork], train_settings: Callable[..., object]
) -> None:
    network = new_network(name="faster_rcnn")
    image = torch.randn(1, 3, HEIGHT, WIDTH, generator=torch.Generator().manual_seed(0))
    losses = network(image, [example([OBJECT])], train_settings(box_weight=3.0))
    assert set(losses) == {"class", "box", "objectness", "rpn_box", "total"}
    expected = losses["class"] + 3 * losses["box"] + losses["objectness"] + losses["rpn_box"]
    torch.testing.assert_close(losses["total"], expected)
    losses["total"].backward()
    # Boxes here are too small for the coarser levels of the head, but the proposals are made on all of them.
    assert [name for name, p in network.named_parameters() if p.grad is None] == []
