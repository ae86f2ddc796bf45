from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.svm import LinearSVC

from detector.data.annotations import CocoDataset
from detector.model import deltas, svm
from detector.model.feature_cache import CachedImage
from detector.model.heads import SvmHead
from detector.model.network import DetectionNetwork
from detector.model.svm import fit_head
from detector.model.training_images import TrainingImages
from detector.params import TrainSettings
from detector.proposals.store import Proposals
from detector.runtime.geometry.boxes import iou

NAMES = ("cat", "dog", "tree")
SIZE = 12  # numbers a vector


class Cache:
    """Images in memory, as the one on disk gives them."""

    bytes = 1

    def __init__(self, images: list[CachedImage]) -> None:
        self.images = images

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[CachedImage]:
        return iter(self.images)


def make(seed: int, *, objects: int = 2, candidates: int = 60, spread: float = 1.0) -> CachedImage:
    """Make objects of classes 1 and 2, and proposals whose vectors partly show how much of an object they hold."""
    random = np.random.default_rng(seed)
    low = random.uniform(0, 200, (objects, 2))
    truth = np.concatenate([low, low + random.uniform(30, 80, (objects, 2))], axis=1)
    labels = random.integers(1, 3, objects)
    near = truth[random.integers(0, objects, candidates // 2)] + random.uniform(-12, 12, (candidates // 2, 4))
    low = random.uniform(0, 200, (candidates - len(near), 2))
    far = np.concatenate([low, low + random.uniform(10, 100, (len(low), 2))], axis=1)
    boxes = np.concatenate([truth, near, far]).astype(np.float32)
    truth = truth.astype(np.float32)
    overlap = iou(boxes, truth)
    vectors = random.normal(0, spread, (len(boxes), SIZE))
    for index, label in enumerate(labels):
        vectors[:, label] += 4 * overlap[:, index]
    vectors[:, 5:9] += 0.1 * encode(boxes, truth[overlap.argmax(axis=1)])
    no = np.zeros(objects, bool)
    return CachedImage(vectors.astype(np.float16), boxes, truth, labels, no, no)


@pytest.fixture(scope="module")
def images() -> list[CachedImage]:
    return [make(seed) for seed in range(40)]


def encode(boxes: np.ndarray, truth: np.ndarray) -> np.ndarray:
    return deltas.encode(torch.from_numpy(boxes), torch.from_numpy(truth)).numpy()


def fit(images: list[CachedImage], names: tuple[str, ...] = NAMES) -> tuple[SvmHead, dict[str, int]]:
    head = SvmHead(SIZE, len(names))
    return head, fit_head(head, Cache(images), names, seed=3)


def everything(images: list[CachedImage], label: int) -> tuple[np.ndarray, np.ndarray]:
    """Return all true boxes of a class and all boxes that overlap none of them by .3; vectors have length 20."""
    scale = 20 / np.mean(np.concatenate([np.linalg.norm(i.vectors.astype(np.float64), axis=1) for i in images]))
    vectors, wanted = [], []
    for image in images:
        own = image.vectors[: len(image.truth)][image.labels == label]
        far = (iou(image.boxes, image.truth[image.labels == label]) < 0.3).all(axis=1)
        vectors += [own, image.vectors[far]]
        wanted += [np.ones(len(own), bool), np.zeros(far.sum(), bool)]
    return np.concatenate(vectors).astype(np.float64) * scale, np.concatenate(wanted)


@pytest.mark.parametrize("label", [1, 2])
def test_mining_finds_the_svm_of_all_negatives(
    images: list[CachedImage], label: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(svm, "_NEGATIVES", 300)  # of about 2,000
    monkeypatch.setattr(svm, "_ROUNDS", 10)
    head, counts = fit(images)
    vectors, wanted = everything(images, label)
    whole = LinearSVC(
        C=1e-3, loss="hinge", class_weight={True: 2.0}, intercept_scaling=10.0, random_state=0, max_iter=100_000
    ).fit(vectors, wanted)
    scale = np.linalg.norm(vectors[0]) / np.linalg.norm(images[0].vectors[:1])  # for the direction alone
    found, expected = head.margins.weight[label - 1].numpy(), whole.coef_[0] * scale
    assert np.corrcoef(found, expected)[0, 1] > 0.97
    assert counts[f"positives/{NAMES[label - 1]}"] == wanted.sum()
    assert counts[f"negatives/{NAMES[label - 1]}"] < len(wanted)
    with torch.inference_mode():
        margins = torch.cat([head.margins(torch.from_numpy(i.vectors.astype(np.float32))) for i in images])[
            :, label - 1
        ]
    reference = np.concatenate([whole.decision_function(i.vectors * _scale(images)) for i in images])
    assert np.abs(margins.numpy() - reference).mean() < 0.15


def _scale(images: list[CachedImage]) -> float:
    return float(20 / np.mean(np.concatenate([np.linalg.norm(i.vectors.astype(np.float64), axis=1) for i in images])))


def test_objects_score_high_and_the_rest_low(images: list[CachedImage]) -> None:
    head, _ = fit(images)
    unseen = [make(seed) for seed in range(100, 110)]
    high, low = [], []
    with torch.inference_mode():
        for image in unseen:
            scores, _ = head(torch.from_numpy(image.vectors.astype(np.float32)))
            for index, label in enumerate(image.labels):
                high.append(scores[index, label - 1])
            far = (iou(image.boxes, image.truth) < 0.1).all(axis=1)
            low.append(scores[torch.from_numpy(far)][:, :2].flatten())
    assert torch.stack(high).median() > 0.5 and torch.cat(low).median() < 0.05


def test_boxes_are_the_ridge_regression_of_near_proposals(images: list[CachedImage]) -> None:
    head, _ = fit(images)
    scale = _scale(images)
    for label in (1, 2):
        rows, wanted = [], []
        for image in images:
            overlap = iou(image.boxes, image.truth)
            near = (overlap.max(axis=1) > 0.6) & (image.labels[overlap.argmax(axis=1)] == label)
            near[: len(image.truth)] = False
            rows.append(image.vectors[near].astype(np.float64) * scale)
            wanted.append(encode(image.boxes[near], image.truth[overlap.argmax(axis=1)[near]]))
        x, y = np.concatenate(rows), np.concatenate(wanted).astype(np.float64)
        assert len(x) > 50
        centred = x - x.mean(axis=0)
        weights = np.linalg.solve(centred.T @ centred + 1000 * np.eye(SIZE), centred.T @ (y - y.mean(axis=0)))
        bias = y.mean(axis=0) - x.mean(axis=0) @ weights
        own = slice(4 * label - 4, 4 * label)
        np.testing.assert_allclose(head.deltas.weight[own].numpy(), weights.T * scale, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(head.deltas.bias[own].numpy(), bias, rtol=1e-3, atol=1e-3)


def test_a_class_without_objects_scores_nothing_and_moves_nothing(images: list[CachedImage]) -> None:
    head, counts = fit(images)
    assert counts["positives/tree"] == 0
    scores, deltas = head(torch.randn(9, SIZE, generator=torch.Generator().manual_seed(0)))
    assert (scores[:, 2] < 1e-9).all() and not deltas[:, 2].any()
    assert scores[:, :2].median() > 1e-6


def test_without_images_objects_or_proposals_nothing_is_fitted() -> None:
    none = np.zeros(0, bool)
    empty = CachedImage(
        np.zeros((0, SIZE), np.float16), np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32),
        np.zeros(0, np.int64), none, none,
    )  # fmt: skip
    background = make(1)
    background = CachedImage(background.vectors, background.boxes, empty.truth, empty.labels, none, none)
    alone = make(2, objects=1, candidates=0)  # one object, and no background beside it
    for images in ([], [empty], [background, empty], [alone]):
        head, _ = fit(images)
        assert not head.margins.weight.any() and not head.deltas.weight.any()
    head, counts = fit([empty, background, alone])
    assert head.margins.weight.any() and counts[f"positives/{NAMES[alone.labels[0] - 1]}"] == 1


def test_what_covers_an_ignored_object_is_neither() -> None:
    plain = make(4, objects=2)
    both = np.array([1, 1])
    ignored = CachedImage(
        plain.vectors[1:],
        plain.boxes[1:],
        plain.truth[::-1].copy(),
        both,
        np.array([False, True]),
        np.array([False, False]),
    )
    negative = svm._negative(ignored, 3)
    covered = iou(ignored.boxes, ignored.truth)
    np.testing.assert_array_equal(negative[:, 0], (covered < 0.3).all(axis=1))
    assert negative[:, 1:].all()
    rows, deltas, labels = svm._near(ignored)
    assert set(labels) <= {1} and 0 not in rows
    assert (covered[rows, 0] > 0.6).all() and len(deltas) == len(rows)


def test_what_lies_in_a_crowd_is_neither() -> None:
    boxes = np.array([[10, 10, 20, 20], [300, 0, 320, 20]], np.float32)
    yes = np.ones(1, bool)
    image = CachedImage(
        np.zeros((2, SIZE), np.float16), boxes, np.array([[0, 0, 200, 100]], np.float32), np.array([2]), yes, yes
    )
    assert svm._negative(image, 2).tolist() == [[True, False], [True, True]]


def test_the_seed_decides(images: list[CachedImage]) -> None:
    first, again = fit(images)[0].state_dict(), fit(images)[0].state_dict()
    assert all(torch.equal(value, again[name]) for name, value in first.items())


def test_held_negatives_are_bounded(images: list[CachedImage], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(svm, "_NEGATIVES", 10)
    _, counts = fit(images)
    assert 0 < counts["negatives/cat"] <= 40 + 3 * 10  # at least one an image at the start


def test_a_network_is_fitted_after_its_training(
    lively_network: Callable[..., DetectionNetwork],
    train_settings: Callable[..., TrainSettings],
    training_set: tuple[Path, CocoDataset, Proposals],
    tmp_path: Path,
) -> None:
    network = lively_network(name="rcnn", head="svm")
    images = TrainingImages(*training_set, limit=20, seed=0)
    example = images[0, 64, 0]
    label = int(example.labels[0]) - 1
    figures = network.fit(images, train_settings(), tmp_path / "cache")
    assert figures["svm/cached_bytes"] > 52 * 320 * 2 and figures["svm/fitting_seconds"] > 0
    assert sum(figures[f"svm/positives/{name}"] for name in NAMES) == 4
    assert all(figures[f"svm/negatives/{name}"] > 0 for name in NAMES)
    with torch.inference_mode():
        scores, boxes = network.detect(example.image[None], torch.cat([example.truth, example.proposals[-4:]]), 9)
    assert scores[0].argmax() == label and scores[0, label] > scores[1:, label].max()
    assert torch.isfinite(boxes).all()


def test_a_softmax_head_needs_no_fitting(
    new_network: Callable[..., DetectionNetwork],
    train_settings: Callable[..., TrainSettings],
    training_set: tuple[Path, CocoDataset, Proposals],
    tmp_path: Path,
) -> None:
    images = TrainingImages(*training_set, limit=20, seed=0)
    for name in ("rcnn", "fast_rcnn"):
        assert new_network(name=name).fit(images, train_settings(), tmp_path / "cache") == {}
    assert not (tmp_path / "cache").exists()
