"""What the statistics of an audit promise: coverage by enumeration or simulation, and their limits in easy cases."""

from __future__ import annotations

import math
from itertools import product

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import beta, hypergeom

from jobs.audit.agreement import agreement
from jobs.audit.counts import corrected_total
from jobs.audit.intervals import Stratum, interval, lower_limit
from jobs.audit.threshold import STEPS, ScoredStratum, least_score


@st.composite
def strata(draw: st.DrawFn, most: int = 4) -> list[Stratum]:
    found = []
    for _ in range(draw(st.integers(1, most))):
        size = draw(st.integers(1, 5_000))
        drawn = draw(st.integers(0, min(size, 300)))
        good = draw(st.integers(0, drawn))
        found.append(Stratum(size, drawn, good, draw(st.integers(0, drawn - good))))
    return found


@settings(max_examples=25, deadline=None)
@given(strata())
def test_limits_are_ordered_and_hold_what_was_seen(found: list[Stratum]) -> None:
    low, high = interval(found)
    size = sum(stratum.size for stratum in found)
    good = sum(stratum.good for stratum in found)
    bad = sum(stratum.drawn - stratum.good - stratum.unclear for stratum in found)
    assert 0 <= low <= high <= 1
    # Search ends within rounding of the best limit, never beyond the certain ones.
    assert good / size - 1e-12 <= low and high <= 1 - bad / size + 1e-12
    # Certainty about unclear items can only narrow the range on its side.
    clear = [Stratum(stratum.size, stratum.drawn, stratum.good + stratum.unclear) for stratum in found]
    assert lower_limit(found, 0.025) <= lower_limit(clear, 0.025) + 1e-4


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 400), st.data())
def test_one_stratum_of_a_large_population_has_the_limits_of_clopper_and_pearson(
    drawn: int, data: st.DataObject
) -> None:
    good = data.draw(st.integers(0, drawn))
    low, high = interval([Stratum(10**6, drawn, good)])
    assert low == pytest.approx(beta.ppf(0.025, good, drawn - good + 1) if good else 0, abs=2e-4)
    assert high == pytest.approx(beta.ppf(0.975, good + 1, drawn - good) if good < drawn else 1, abs=2e-4)


def test_a_census_is_known_nothing_is_not_and_385_boxes_say_five_points() -> None:
    assert interval([Stratum(7, 7, 3)]) == (3 / 7, 3 / 7)
    assert interval([Stratum(7, 7, 3, unclear=2)]) == (3 / 7, 5 / 7)
    assert interval([Stratum(7, 0, 0)]) == interval([]) == (0, 1)
    assert interval([Stratum(10, 10, 10), Stratum(10, 0, 0)]) == (0.5, 1)
    for good in (0, 50, 192, 193, 300, 385):
        low, high = interval([Stratum(8_000, 385, good)])
        assert high - low <= 0.1


@pytest.mark.parametrize(("size", "drawn"), [(30, 8), (60, 20)])
def test_one_stratum_covers_every_truth_by_enumeration(size: int, drawn: int) -> None:
    ranges = [interval([Stratum(size, drawn, good)]) for good in range(drawn + 1)]
    for truth in range(size + 1):
        chances = hypergeom.pmf(range(drawn + 1), size, truth, drawn)
        for side in (0, 1):
            missed = [low > truth / size if side else high < truth / size for low, high in ranges]
            assert chances[missed].sum() <= 0.025 + 1e-12


def test_two_strata_cover_every_truth_by_enumeration() -> None:
    """Sizes and numbers drawn are as uneven as an audit makes them: a rare label has the least number of boxes."""
    sizes, drawn = (40, 8), (9, 2)
    pairs = list(product(range(drawn[0] + 1), range(drawn[1] + 1)))
    low = {pair: lower_limit([Stratum(*one) for one in zip(sizes, drawn, pair, strict=True)], 0.025) for pair in pairs}
    most = 0.0
    for truth in product(range(0, sizes[0] + 1, 2), range(sizes[1] + 1)):
        chance = sum(
            float(np.prod([hypergeom.pmf(pair[n], sizes[n], truth[n], drawn[n]) for n in (0, 1)]))
            for pair in pairs
            if low[pair] > sum(truth) / sum(sizes) + 1e-12
        )
        most = max(most, chance)
    assert 0 < most <= 0.025


def test_strata_are_wider_than_one_and_not_by_half() -> None:
    """Chernoff's bound costs about a third; a careless one (Bonferroni's) would cost three times that."""
    many = interval([Stratum(1_000 * n, 30 * n, 24 * n) for n in (1, 2, 3)])
    one = interval([Stratum(6_000, 180, 144)])
    assert 1 < (many[1] - many[0]) / (one[1] - one[0]) < 1.5


def test_counts_of_a_perfect_detector_are_certain_and_those_of_a_useless_one_are_the_samples() -> None:
    dice = np.random.default_rng(0)
    objects = dice.poisson(2, 1_000)
    total = int(objects.sum())
    sample = objects[:100]
    exact = corrected_total(sample, sample, 1_000, total)
    assert exact.low == pytest.approx(total) and exact.high == pytest.approx(total)
    constant = corrected_total(sample, np.full(100, 3), 1_000, 3_000)
    alone = corrected_total(sample, np.zeros(100), 1_000, 0)
    assert constant == alone and alone.estimate == pytest.approx(10 * sample.sum())
    census = corrected_total(objects, dice.poisson(2, 1_000), 1_000, 2_000)
    assert (census.low, census.high) == (total, total)
    assert corrected_total([2], [1], 1, 1).high == 2
    assert corrected_total([0] * 50, [1] * 50, 500, 500).low == 0


@settings(max_examples=50, deadline=None)
@given(st.integers(3, 60), st.integers(0, 2**32 - 1), st.floats(0, 3))
def test_a_total_lies_in_its_range_and_is_no_less_than_what_was_seen(count: int, seed: int, recall: float) -> None:
    dice = np.random.default_rng(seed)
    people = dice.poisson(1, count)
    detector = dice.poisson(people * recall)
    total = corrected_total(people, detector, 10 * count, int(10 * detector.sum()))
    assert people.sum() <= total.low <= total.estimate <= total.high
    assert all(map(math.isfinite, (total.low, total.high)))


def test_a_score_is_promised_too_often_in_at_most_one_of_twenty_draws() -> None:
    """The precision is just below the wanted one from every score on, so that every score would be a mistake."""
    dice = np.random.default_rng(3)
    draws = 120
    scores = dice.integers(3_000, STEPS + 1, 4_000)
    right = np.arange(4_000) < 0.79 * 4_000
    dice.shuffle(right)
    sizes = np.bincount(scores, minlength=STEPS + 1)
    above = [right[scores >= score].mean() for score in range(3_000, STEPS - 500, 500)]
    assert max(above) < 0.82
    wrong = 0
    for _ in range(draws):
        drawn = dice.choice(4_000, 200, replace=False)
        found = least_score([ScoredStratum(sizes, scores[drawn], right[drawn])], 0.82)
        wrong += found is not None and right[scores >= found].mean() < 0.82
    assert wrong <= 0.05 * draws + 3 * math.sqrt(draws * 0.05 * 0.95)


def test_the_score_to_trust_in_easy_cases() -> None:
    scores = np.arange(STEPS // 2, STEPS + 1)
    sizes = np.bincount(scores, minlength=STEPS + 1)
    drawn = scores[::25]
    every = ScoredStratum(sizes, drawn, np.ones(len(drawn), bool))
    assert least_score([every], 0.9) == STEPS // 2  # all are right: from the lowest score on
    none = ScoredStratum(sizes, drawn, np.zeros(len(drawn), bool))
    assert least_score([none], 0.9) is None
    upper = ScoredStratum(sizes, drawn, drawn >= 7_500)
    found = least_score([upper], 0.8)
    assert found is not None and 6_900 <= found <= 7_500
    assert least_score([ScoredStratum(sizes, drawn[:0], np.zeros(0, bool))], 0.9) is None
    assert least_score([], 0.9) is None


def test_krippendorffs_own_example() -> None:
    """Four observers, twelve units, nominal data: alpha is .743 (Computing Krippendorff's Alpha-Reliability, 2011)."""
    table = """1 1 . 1
               2 2 3 2
               3 3 3 3
               3 3 3 3
               2 2 2 2
               1 2 3 4
               4 4 4 4
               1 1 2 1
               2 2 2 2
               . 5 5 5
               . . 1 1
               . . 3 ."""
    found = agreement([[value for value in row.split() if value != "."] for row in table.splitlines()])
    assert found is not None and found.boxes == 11
    assert found.alpha == pytest.approx(0.743, abs=5e-4)


def test_agreement_of_few_and_of_equal_answers() -> None:
    assert agreement([["right"], []]) is None
    same = agreement([["right", "right"]] * 3)
    assert same is not None and (same.boxes, same.share, same.alpha) == (3, 1, None)
    opposite = agreement([["right", "not_an_object"], ["not_an_object", "right"]])
    assert opposite is not None and opposite.share == 0 and opposite.alpha is not None and opposite.alpha < 0
