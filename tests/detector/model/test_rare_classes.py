import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.data.annotations import ImageInfo
from detector.model.rare_classes import repeat_factors
from tests.support.datasets import image_info

BOX = [2, 2, 9, 9]


def labelled(*labels: int, ignore: bool = False) -> ImageInfo:
    return image_info(1, [BOX] * len(labels), list(labels), size=(20, 20), ignore=ignore)


def test_an_image_is_shown_as_often_as_its_rarest_class_needs() -> None:
    images = [labelled(0)] * 98 + [labelled(0, 1), labelled(2)]
    factors = repeat_factors(images, 3, 0.09)
    assert factors[:98].tolist() == [1.0] * 98
    assert factors[98:] == pytest.approx([3.0, 3.0])  # sqrt(.09 / .01)


def test_objects_that_nothing_is_learnt_from_make_no_class_present() -> None:
    images = [labelled(0)] * 9 + [labelled(1, ignore=True)]
    assert repeat_factors(images, 2, 0.9).tolist() == [1.0] * 10
    assert repeat_factors([], 2, 0.5).shape == (0,)


@given(st.lists(st.sets(st.integers(0, 4)), min_size=1, max_size=30), st.floats(0, 1))
def test_factors_are_those_of_the_paper(classes: list[set[int]], threshold: float) -> None:
    factors = repeat_factors([labelled(*own) for own in classes], 5, threshold)
    share = {label: np.mean([label in own for own in classes]) for label in range(5)}
    for own, factor in zip(classes, factors, strict=True):
        expected = max([1.0, *(np.sqrt(threshold / share[label]) for label in own)])
        assert factor == pytest.approx(expected)
