"""Weighted boxes fusion: the paper's rules, and what holds for any boxes."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detector.data.formats.voting import Ballot, vote
from detector.data.published import Box

LABELS = ("cat", "dog")


def box(score: float, x: float = 0, label: str = "cat", size: float = 20) -> Box:
    return Box(label=label, score=score, x=x, y=0, width=size, height=20)


def ballots(*readings: list[Box]) -> list[Ballot]:
    return [Ballot(LABELS, boxes) for boxes in readings]


def test_edges_are_weighted_by_the_scores_and_a_missing_vote_counts_as_zero() -> None:
    (fused,) = vote(ballots([box(0.9)], [box(0.3, x=4)], []))
    assert (fused.x, fused.width, fused.y, fused.height) == pytest.approx((1, 20, 0, 20))
    assert fused.score == pytest.approx(0.4)
    alone = vote(ballots([box(0.9)], [], []))
    assert [found.score for found in alone] == pytest.approx([0.3])


def test_a_detector_that_does_not_know_the_label_has_no_vote() -> None:
    found = vote([Ballot(LABELS, [box(0.8), box(0.6, label="dog")]), Ballot(["cat"], [])])
    assert [(one.label, one.score) for one in found] == [("dog", 0.6), ("cat", 0.4)]


def test_two_boxes_of_one_detector_are_one_vote_by_the_higher_score() -> None:
    (fused,) = vote(ballots([box(0.8), box(0.4, x=1)], [box(0.6)]))
    assert fused.score == pytest.approx(0.7)
    assert fused.x == pytest.approx(0.4 / 1.8)


@pytest.mark.parametrize("voters", [2, 3, 6, 7])
def test_detectors_that_agree_on_a_score_keep_it(voters: int) -> None:
    """The sum of three times .35, divided by three, is a little less than .35 in floating point."""
    for score in (0.35, 0.1, 0.7, 0.0123):
        (fused,) = vote(ballots(*([box(score)] for _ in range(voters))))
        assert fused.score == score


def test_other_labels_and_boxes_apart_stay_apart() -> None:
    """Two boxes of 20 pixels that are 6 apart have an IoU of .54, below the paper's .55; 5 apart have .6."""
    assert len(vote(ballots([box(0.8)], [box(0.8, label="dog")]))) == 2
    assert len(vote(ballots([box(0.8)], [box(0.8, x=6)]))) == 2
    assert len(vote(ballots([box(0.8)], [box(0.8, x=5)]))) == 1


def test_boxes_without_a_score_keep_their_edges() -> None:
    (fused,) = vote(ballots([box(0.0, x=7)], []))
    assert (fused.x, fused.score) == (7, 0)


BOXES = st.builds(
    box,
    st.integers(0, 100).map(lambda value: value / 100),
    x=st.integers(0, 60),
    label=st.sampled_from(LABELS),
    size=st.integers(5, 40),
)


@settings(deadline=None)
@given(st.lists(st.lists(BOXES, max_size=5), min_size=1, max_size=4), st.randoms())
def test_what_holds_for_any_boxes(readings: list[list[Box]], random: object) -> None:
    found = vote(ballots(*readings))
    boxes = [one for reading in readings for one in reading]
    assert len(found) <= len(boxes) and bool(found) == bool(boxes)
    for label in LABELS:
        own = [one for one in boxes if one.label == label]
        for one in (one for one in found if one.label == label):
            assert 0 <= one.score <= max(other.score for other in own) + 1e-9
            assert min(other.x for other in own) <= one.x + 1e-9
            assert one.x + one.width <= max(other.x + other.width for other in own) + 1e-9
    # Neither the order of the detectors nor that of their boxes matters.
    shuffled = [list(reading) for reading in readings]
    for reading in (*shuffled, shuffled):
        random.shuffle(reading)  # type: ignore[attr-defined]
    assert vote(ballots(*shuffled)) == found
