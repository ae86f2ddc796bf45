from collections.abc import Callable

import pytest
import torch
from torchvision.ops import box_iou

from detector.model.targets import Targets, match, sample

NONE = torch.zeros(0, 4)
TRUTH = torch.tensor([[10.0, 10, 50, 30], [60, 5, 100, 65]])
LABELS = torch.tensor([2, 5])
LEARNT = torch.tensor([False, False])


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def near(box: torch.Tensor, count: int, seed: int = 0) -> torch.Tensor:
    """Boxes with an IoU of more than a half with `box`."""
    return box + torch.rand(count, 4, generator=generator(seed)) * 4 - 2


@pytest.fixture
def many(random_boxes: Callable[..., torch.Tensor]) -> torch.Tensor:
    """60 proposals that are objects, among 200 anywhere."""
    return torch.cat([near(TRUTH[0], 30), random_boxes(200, 80, 130), near(TRUTH[1], 30)])


def draw(proposals: torch.Tensor, count: int = 32, seed: int = 0, ignore: torch.Tensor = LEARNT) -> Targets:
    return sample(proposals, TRUTH, LABELS, ignore, LEARNT, count, generator(seed))


def test_a_quarter_are_objects_and_the_rest_background(many: torch.Tensor) -> None:
    drawn = draw(many, count=64)
    assert drawn.boxes.shape == drawn.matched.shape == (64, 4) and drawn.labels.dtype == torch.int64
    assert (drawn.labels > 0).sum() == 16
    overlap, index = box_iou(drawn.boxes, TRUTH).max(dim=1)
    assert torch.equal(drawn.labels > 0, overlap >= 0.5)
    objects = drawn.labels > 0
    assert torch.equal(drawn.labels[objects], LABELS[index[objects]])
    assert torch.equal(drawn.matched[objects], TRUTH[index[objects]])
    assert torch.equal(drawn.matched[~objects], drawn.boxes[~objects])
    assert set(drawn.labels.tolist()) == {0, 2, 5}


def test_no_region_is_drawn_twice(many: torch.Tensor) -> None:
    drawn = draw(many, count=64)
    assert len(drawn.boxes.unique(dim=0)) == len(drawn.boxes) == 64


def test_background_fills_up_where_objects_are_few(random_boxes: Callable[..., torch.Tensor]) -> None:
    far = random_boxes(100, 80, 130) + 500
    drawn = draw(far)
    assert len(drawn.labels) == 32 and drawn.labels[drawn.labels > 0].sort().values.tolist() == [2, 5]


def test_few_candidates_are_all_taken_but_objects_never_above_their_quarter() -> None:
    drawn = draw(torch.cat([near(TRUTH[0], 20), torch.tensor([[200.0, 200, 230, 260]])]), count=16)
    assert (drawn.labels > 0).sum() == 4 and (drawn.labels == 0).sum() == 1


def test_true_boxes_join_the_proposals() -> None:
    drawn = draw(NONE)
    assert sorted(drawn.boxes.tolist()) == sorted(TRUTH.tolist())
    assert torch.equal(drawn.boxes, drawn.matched) and sorted(drawn.labels.tolist()) == [2, 5]


def test_iou_of_exactly_a_half_is_an_object() -> None:
    half = torch.tensor([[10.0, 10, 30, 30]])  # the left half of the first true box
    drawn = draw(half, count=64)
    assert drawn.labels[(drawn.boxes == half).all(dim=1)].tolist() == [2]


def test_the_truth_with_the_larger_iou_is_matched() -> None:
    truth = torch.tensor([[0.0, 0, 40, 20], [4, 0, 44, 20]])
    drawn = sample(torch.tensor([[3.0, 0, 43, 20]]), truth, LABELS, LEARNT, LEARNT, 64, generator())
    chosen = (drawn.boxes == torch.tensor([3.0, 0, 43, 20])).all(dim=1)
    assert drawn.labels[chosen].tolist() == [5] and drawn.matched[chosen].tolist() == [[4, 0, 44, 20]]


def test_what_overlaps_an_ignored_object_is_neither_object_nor_background(many: torch.Tensor) -> None:
    drawn = draw(many, count=1000, ignore=torch.tensor([False, True]))
    assert (box_iou(drawn.boxes, TRUTH[1:]) < 0.5).all()
    assert set(drawn.labels.tolist()) == {0, 2}
    assert len(drawn.boxes) > 150


def test_with_every_object_ignored_there_is_background_only(many: torch.Tensor) -> None:
    drawn = draw(many, count=1000, ignore=torch.tensor([True, True]))
    assert (drawn.labels == 0).all() and len(drawn.labels) > 100
    assert (box_iou(drawn.boxes, TRUTH) < 0.5).all()
    assert draw(NONE, ignore=torch.tensor([True, True])).boxes.shape == (0, 4)


def test_an_image_without_objects_is_background(many: torch.Tensor) -> None:
    drawn = sample(many, NONE, LABELS[:0], LEARNT[:0], LEARNT[:0], 32, generator())
    assert drawn.labels.tolist() == [0] * 32 and torch.equal(drawn.boxes, drawn.matched)


def test_an_image_with_nothing_gives_nothing() -> None:
    drawn = sample(NONE, NONE, LABELS[:0], LEARNT[:0], LEARNT[:0], 32, generator())
    assert drawn.boxes.shape == drawn.matched.shape == (0, 4) and drawn.labels.shape == (0,)
    assert drawn.labels.dtype == torch.int64


def test_the_generator_decides(many: torch.Tensor) -> None:
    assert torch.equal(draw(many, seed=1).boxes, draw(many, seed=1).boxes)
    assert not torch.equal(draw(many, seed=1).boxes, draw(many, seed=2).boxes)


def test_what_lies_in_a_crowd_is_no_background() -> None:
    crowd = torch.tensor([[0.0, 0, 200, 100]])
    inside, half, outside = [20.0, 20, 40, 50], [190.0, 20, 230, 60], [210.0, 10, 250, 40]
    yes = torch.tensor([True])
    drawn = sample(torch.tensor([inside, half, outside]), crowd, LABELS[:1], yes, yes, 8, generator())
    assert {tuple(box) for box in drawn.boxes.tolist()} == {tuple(half), tuple(outside)}


def test_a_candidate_is_an_object_from_the_iou_that_is_asked_for() -> None:
    candidates = torch.cat([TRUTH[:1], TRUTH[:1] + torch.tensor([0.0, 0, -12, 0])])  # IoUs of 1 and .7
    assert match(candidates, TRUTH, LABELS, LEARNT, LEARNT, 0.6).labels.tolist() == [2, 2]
    found = match(candidates, TRUTH, LABELS, LEARNT, LEARNT, 0.8)
    assert found.labels.tolist() == [2, 0]
    assert torch.equal(found.matched, torch.stack([TRUTH[0], candidates[1]]))


def test_a_candidate_near_an_ignored_object_is_neither() -> None:
    ignored = torch.tensor([True, False])
    far = torch.tensor([[200.0, 200, 230, 260]])
    found = match(torch.cat([TRUTH, far]), TRUTH, LABELS, ignored, LEARNT, 0.6)
    assert found.labels.tolist() == [-1, 5, 0]
    assert found.at(found.labels >= 0).boxes.shape == (2, 4)


def test_without_true_boxes_all_candidates_are_background() -> None:
    no = torch.zeros(0, dtype=torch.bool)
    found = match(TRUTH, NONE, torch.zeros(0, dtype=torch.int64), no, no, 0.6)
    assert found.labels.tolist() == [0, 0] and torch.equal(found.matched, TRUTH)
