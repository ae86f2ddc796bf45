import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from detector.geometry.boxes import empty
from detector.geometry.deltas import decode, encode
from detector.model import losses


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    """Two (N, 4) xyxy arrays of boxes with sides of 1 to 400 pixels."""
    count = draw(st.integers(0, 5))
    made = []
    for _ in range(2):
        corners = draw(arrays(np.float32, (count, 2), elements=st.floats(-50, 500, width=32)))
        sizes = draw(arrays(np.float32, (count, 2), elements=st.floats(1, 400, width=32)))
        made.append(np.concatenate([corners, corners + sizes], axis=1))
    return made[0], made[1]


def test_the_parameterisation_is_the_papers() -> None:
    # Half a width to the right, a tenth of the height up, twice as wide, as high: 10 * .5, 10 * -.1, 5 * log 2, 0.
    proposal, target = np.array([[10, 20, 30, 70]], np.float32), np.array([[10, 15, 50, 65]], np.float32)
    np.testing.assert_allclose(encode(proposal, target), [[5, -1, 5 * np.log(2), 0]], atol=1e-6)


@settings(deadline=None, max_examples=50)
@given(pairs())
def test_decode_undoes_encode(pair: tuple[np.ndarray, np.ndarray]) -> None:
    # A proposal of 1 pixel that becomes one of 400 may lose digits; growth is limited to 62.5.
    proposals, targets = pair
    grown = ((targets[:, 2:] - targets[:, :2]) / (proposals[:, 2:] - proposals[:, :2]) < 62).all(axis=1)
    back = decode(proposals[grown], encode(proposals[grown], targets[grown]))
    assert back.dtype == np.float32
    np.testing.assert_allclose(back, targets[grown], atol=0.02)


@settings(deadline=None, max_examples=50)
@given(pairs(), st.integers(1, 3))
def test_the_networks_tensors_follow_the_same_formulas(pair: tuple[np.ndarray, np.ndarray], classes: int) -> None:
    proposals, targets = pair
    deltas = encode(proposals, targets)
    tensors = losses.encode(torch.from_numpy(proposals), torch.from_numpy(targets))
    np.testing.assert_allclose(deltas, tensors, rtol=1e-4, atol=1e-4)
    # Each class has deltas of its own.
    scaled = np.stack([deltas * (c + 1) / classes for c in range(classes)], axis=1)  # (N, C, 4)
    decoded = losses.decode(torch.from_numpy(proposals), torch.from_numpy(scaled))
    assert decoded.shape == scaled.shape
    for c in range(classes):
        np.testing.assert_allclose(decode(proposals, scaled[:, c]), decoded[:, c], rtol=1e-4, atol=1e-2)


def test_growth_is_limited_so_that_nothing_overflows() -> None:
    proposal, wild = np.array([[10, 20, 26, 52]], np.float32), np.full((1, 4), 1e4, np.float32)
    for box in (decode(proposal, wild), losses.decode(torch.from_numpy(proposal), torch.from_numpy(wild)[:, None])[0]):
        sides = np.asarray(box[:, 2:] - box[:, :2])
        np.testing.assert_allclose(sides, [[1000, 2000]], rtol=1e-3)


def test_no_boxes_have_no_deltas() -> None:
    for found in (encode(empty(), empty()), decode(empty(), empty())):
        assert found.shape == (0, 4) and found.dtype == np.float32
    none = torch.zeros(0, 4)
    assert losses.encode(none, none).shape == (0, 4)
    assert losses.decode(none, torch.zeros(0, 3, 4)).shape == (0, 3, 4)
