import math

import pytest
import torch

from detector.model.losses import multi_task_loss
from detector.model.targets import Targets

BOXES = torch.tensor([[0.0, 0, 20, 10], [10, 10, 50, 30]])


def test_the_value_is_the_papers() -> None:
    """An object of class 2 and a background region, by hand."""
    logits = torch.tensor([[0.0, 0.0, math.log(2.0)], [0.0, 0.0, 0.0]])  # p = (1/4, 1/4, 1/2) and thirds
    deltas = torch.zeros(2, 2, 4)
    deltas[0, 1] = torch.tensor([0.5, 0.0, 3.0, 0.0])
    deltas[0, 0] = deltas[1] = 99.0  # other classes' boxes, and those of background: not counted
    matched = BOXES.clone()
    matched[0] = torch.tensor([2.0, 0, 22, 10])  # a tenth of the width to the right: deltas (1, 0, 0, 0)
    found = multi_task_loss(logits, deltas, Targets(BOXES, torch.tensor([2, 0]), matched), box_weight=3.0)
    class_loss = (math.log(2) + math.log(3)) / 2
    box_loss = (0.5 * 0.5**2 + (3 - 0.5)) / 2  # smooth L1 of .5 and of 3
    assert found["class"].item() == pytest.approx(class_loss)
    assert found["box"].item() == pytest.approx(box_loss)
    assert found["total"].item() == pytest.approx(class_loss + 3 * box_loss)


def test_no_regions_have_loss_0_and_gradient_0() -> None:
    logits, deltas = torch.zeros(0, 3, requires_grad=True), torch.zeros(0, 2, 4, requires_grad=True)
    none = torch.zeros(0, 4)
    found = multi_task_loss(logits, deltas, Targets(none, torch.zeros(0, dtype=torch.int64), none), 1.0)
    assert [value.item() for value in found.values()] == [0, 0, 0]
    found["total"].backward()
    assert logits.grad is not None and deltas.grad is not None


def test_without_an_object_classes_learn_and_boxes_do_not() -> None:
    logits, deltas = torch.zeros(2, 3, requires_grad=True), torch.ones(2, 2, 4, requires_grad=True)
    found = multi_task_loss(logits, deltas, Targets(BOXES, torch.tensor([0, 0]), BOXES), 1.0)
    found["total"].backward()
    assert found["box"] == 0 and not deltas.grad.any()
    assert (logits.grad[:, 0] < 0).all() and (logits.grad[:, 1:] > 0).all()


def test_half_precision_outputs_are_judged_in_float32() -> None:
    logits, deltas = torch.zeros(2, 3, dtype=torch.bfloat16), torch.ones(2, 2, 4, dtype=torch.bfloat16)
    found = multi_task_loss(logits, deltas, Targets(BOXES, torch.tensor([1, 0]), BOXES), 1.0)
    assert all(value.dtype == torch.float32 for value in found.values())


def test_one_box_for_all_classes_and_a_loss_that_is_linear_sooner() -> None:
    logits, deltas = torch.zeros(2, 3), torch.zeros(2, 1, 4)
    deltas[0, 0, 0] = 2.0
    matched = BOXES.clone()
    matched[0] = torch.tensor([2.0, 0, 22, 10])  # deltas (1, 0, 0, 0)
    targets = Targets(BOXES, torch.tensor([2, 0]), matched)
    assert multi_task_loss(logits, deltas, targets, 1.0)["box"].item() == pytest.approx(0.5 / 2)
    assert multi_task_loss(logits, deltas, targets, 1.0, beta=0.1)["box"].item() == pytest.approx((1 - 0.05) / 2)
