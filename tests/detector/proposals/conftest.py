from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays


@pytest.fixture(scope="session")
def noise() -> Callable[..., np.ndarray]:
    """uint8 RGB (H, W, 3) noise in blocks of `block` pixels, by seed."""

    def make(height: int, width: int, seed: int = 0, block: int = 1) -> np.ndarray:
        shape = (-(-height // block), -(-width // block), 3)
        blocks = np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8)
        return np.ascontiguousarray(blocks.repeat(block, 0).repeat(block, 1)[:height, :width])

    return make


@st.composite
def _pictures(draw: st.DrawFn, longest: int = 9) -> np.ndarray:
    """Small images of few colours, so that equal neighbours and ties are common."""
    shape = (draw(st.integers(1, longest)), draw(st.integers(1, longest)), 3)
    return draw(arrays(np.uint8, shape, elements=st.sampled_from([0, 3, 60, 63, 200, 255])))


@pytest.fixture(scope="session")
def pictures() -> Callable[..., st.SearchStrategy]:
    """The strategy: small uint8 RGB images."""
    return _pictures
