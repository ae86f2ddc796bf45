import time
from pathlib import Path

import numpy as np
import pytest

from detector.common.errors import AnnotationError
from detector.proposals.store import load_proposals, save_proposals
from detector.runtime.geometry.boxes import empty


def some() -> list[np.ndarray]:
    """The second and the last of four images have no proposals."""
    boxes = np.arange(20, dtype=np.float32).reshape(5, 4)
    return [boxes[:2], empty(), boxes[2:], empty()]


def test_proposals_come_back_image_by_image(tmp_path: Path) -> None:
    save_proposals(some(), tmp_path / "train.npz")
    stored = load_proposals(tmp_path / "train.npz", 4)
    assert len(stored) == 4
    for index, boxes in enumerate(some()):
        assert stored[index].dtype == np.float32 and stored[index].shape == boxes.shape
        np.testing.assert_array_equal(stored[index], boxes)


def test_an_index_beyond_the_images_is_an_error(tmp_path: Path) -> None:
    save_proposals(some(), tmp_path / "train.npz")
    stored = load_proposals(tmp_path / "train.npz", 4)
    for index in (4, -1):
        with pytest.raises(IndexError):
            stored[index]
    assert [len(boxes) for boxes in stored] == [2, 0, 3, 0]  # and ends iteration


def test_no_images_and_no_boxes_are_stored(tmp_path: Path) -> None:
    for per_image in ([], [empty(), empty()]):
        save_proposals(per_image, tmp_path / "train.npz")
        assert len(load_proposals(tmp_path / "train.npz", len(per_image))) == len(per_image)


def test_equal_proposals_are_equal_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save_proposals(some(), tmp_path / "a.npz")
    monkeypatch.setattr(time, "time", lambda: 2_000_000_000.0)
    save_proposals(some(), tmp_path / "b.npz")
    assert (tmp_path / "a.npz").read_bytes() == (tmp_path / "b.npz").read_bytes()


def test_another_number_of_images_is_refused(tmp_path: Path) -> None:
    save_proposals(some(), tmp_path / "train.npz")
    with pytest.raises(AnnotationError, match=r"train\.npz holds the proposals of 4 images, the split has 5"):
        load_proposals(tmp_path / "train.npz", 5)


def test_a_missing_file_names_the_stage_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(AnnotationError, match=r"train\.npz is missing: run the stage `propose`"):
        load_proposals(tmp_path / "train.npz", 4)


@pytest.mark.parametrize("damage", ["truncated", "empty", "other arrays", "no archive"])
def test_a_damaged_file_is_refused(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "train.npz"
    save_proposals(some(), path)
    match damage:
        case "truncated":
            path.write_bytes(path.read_bytes()[:-40])
        case "empty":
            path.write_bytes(b"")
        case "other arrays":
            np.savez(path, boxes=empty())
        case "no archive":
            path.write_bytes(b"boxes")
    with pytest.raises(AnnotationError, match=r"train\.npz does not hold proposals"):
        load_proposals(path, 4)
