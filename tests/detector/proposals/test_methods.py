import numpy as np

from detector.model.family import FAMILY
from detector.proposals import METHODS, find_proposals, selective_search, sliding_window


def test_each_method_is_its_function() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3)).astype(np.uint8)
    search = find_proposals(pixels, "selective_search", 20, "quality")
    np.testing.assert_array_equal(search, selective_search(pixels, 20, "quality"))
    windows = find_proposals(pixels, "sliding_window", 30, "fast")
    np.testing.assert_array_equal(windows, sliding_window(40, 60, 30))
    assert len(search) <= 20 and len(windows) == 30


def test_every_member_of_the_family_has_its_source() -> None:
    assert set(METHODS) == set(FAMILY)
