"""R-CNN's last steps (Girshick et al. 2014): fits an SVM with hard negatives, and a ridge regression of boxes.

Each class has its own. This follows sections 2.3, B and C, with the constants of the authors' code. Shapes: N
candidates of one image, K vectors of one class, D numbers in a vector, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import Ridge
from sklearn.svm import LinearSVC

from detector.common.progress import progress
from detector.model.deltas import encode
from detector.model.feature_cache import CachedImage, FeatureCache
from detector.model.heads import SvmHead
from detector.model.targets import coverage

Vectors = NDArray[np.float16]  # (K, D), as the cache holds them, in half the memory of float32
Floats = NDArray[np.float32]

# Vectors are scaled to this mean length, so that C and alpha have the same effect for every network.
_LENGTH = 20.0
# A candidate is a negative of a class if its IoU with all boxes of the class is below this value (section 2.3).
_NEGATIVE_IOU = 0.3
_C, _POSITIVE_WEIGHT, _BIAS_SCALE = 1e-3, 2.0, 10.0
# Negatives inside the margin are hard. Mined negatives that lie well outside it are dropped again.
_HARD, _EASY = -1.0, -1.2
# Mining converges quickly: the paper passes over the images once.
_ROUNDS = 3
# The number of negatives of a class at the start, and of new ones, the hardest, in a round; it bounds memory and time.
_NEGATIVES = 2000
# Section C: boxes are regressed from the proposals that lie near an object.
_NEAR_IOU, _ALPHA = 0.6, 1000.0


def fit_head(head: SvmHead, cache: FeatureCache, classes: Sequence[str], seed: int) -> dict[str, int]:
    """Fit `head` on the cached vectors. Returns the numbers {"positives/NAME", "negatives/NAME"} of the last fits.

    A class without positives or without negatives keeps the head's initial score; a class without proposals near its
    objects does not move boxes. Memory holds the vectors of one image, those near objects, and some thousand negatives
    of each class. The same cache and seed give the same numbers.
    """
    samples = [_Samples() for _ in classes]
    scale = _gather(cache, samples, seed)
    for own in samples:
        own.fit(scale, seed)
    for number in range(_ROUNDS):
        found = _mine(cache, samples, f"hard negatives, round {number + 1}")
        for own, new in zip(samples, found, strict=True):
            if len(new.places):
                own.negatives = own.negatives.joined(new)
                own.fit(scale, seed)
                own.drop_easy()
        if not any(len(new.places) for new in found):
            break
    with torch.no_grad():
        for label, own in enumerate(samples):
            if own.plane is not None:
                head.margins.weight[label] = torch.from_numpy(own.plane[:-1])
                head.margins.bias[label] = float(own.plane[-1])
            if own.near:
                weights, bias = _regress(np.concatenate(own.near), np.concatenate(own.deltas), scale)
                head.deltas.weight[4 * label : 4 * label + 4] = torch.from_numpy(weights)
                head.deltas.bias[4 * label : 4 * label + 4] = torch.from_numpy(bias)
    counts = {f"positives/{name}": sum(map(len, own.positives)) for name, own in zip(classes, samples, strict=True)}
    return counts | {f"negatives/{name}": len(own.negatives.places) for name, own in zip(classes, samples, strict=True)}


@dataclass(frozen=True, eq=False)
class _Negatives:
    """Negatives of one class: vectors (K, D) and places (K,), image << 32 | candidate, in ascending order."""

    places: NDArray[np.int64]
    vectors: Vectors

    @staticmethod
    def of(parts: Sequence[tuple[NDArray[np.int64], Vectors]]) -> _Negatives:
        """Join parts in any order; no place may occur twice."""
        if not parts:
            return _Negatives(np.zeros(0, np.int64), np.zeros((0, 0), np.float16))
        places, vectors = np.concatenate([p for p, _ in parts]), np.concatenate([v for _, v in parts])
        order = np.argsort(places)
        return _Negatives(places[order], vectors[order])

    def joined(self, other: _Negatives) -> _Negatives:
        return _Negatives.of([(own.places, own.vectors) for own in (self, other) if len(own.places)])

    def kept(self, mask: NDArray[np.bool_]) -> _Negatives:
        return _Negatives(self.places[mask], self.vectors[mask])

    def of_image(self, index: int) -> NDArray[np.int64]:
        """Return the candidates of an image that are among these."""
        low, high = np.searchsorted(self.places, [index << 32, (index + 1) << 32])
        return self.places[low:high] & 0xFFFFFFFF


@dataclass(eq=False)
class _Samples:
    """The samples of one class. plane: float32 (D + 1,), the SVM's weights for unscaled vectors, and its bias."""

    positives: list[Vectors] = field(default_factory=list)
    near: list[Vectors] = field(default_factory=list)
    deltas: list[Floats] = field(default_factory=list)  # (K, 4) for each of `near`
    negatives: _Negatives = field(default_factory=lambda: _Negatives.of([]))
    plane: Floats | None = None

    def fit(self, scale: float, seed: int) -> None:
        """Fit the SVM, unless there are no positives or no negatives."""
        if not self.positives or not len(self.negatives.places):
            return
        vectors = np.concatenate([*self.positives, self.negatives.vectors]).astype(np.float64) * scale
        is_object = np.arange(len(vectors)) < len(vectors) - len(self.negatives.places)
        svm = LinearSVC(
            C=_C,
            loss="hinge",
            class_weight={True: _POSITIVE_WEIGHT},
            intercept_scaling=_BIAS_SCALE,
            random_state=seed % 2**32,
            max_iter=10_000,
        )
        svm.fit(vectors, is_object)
        self.plane = np.append(svm.coef_[0] * scale, svm.intercept_[0]).astype(np.float32)

    def drop_easy(self) -> None:
        assert self.plane is not None
        margins = self.negatives.vectors.astype(np.float32) @ self.plane[:-1] + self.plane[-1]
        self.negatives = self.negatives.kept(margins >= _EASY)


def _gather(cache: FeatureCache, samples: Sequence[_Samples], seed: int) -> float:
    """Collect the objects, the proposals near them, and some negatives drawn from all images, in one pass.

    Returns the factor that scales the vectors to the wanted mean length.
    """
    share = -(-_NEGATIVES // max(1, len(cache)))
    drawn: list[list[tuple[NDArray[np.int64], Vectors]]] = [[] for _ in samples]
    length, count = 0.0, 0
    for index, image in enumerate(progress(cache, len(cache), "objects and first negatives")):
        length += float(np.linalg.norm(image.vectors.astype(np.float32), axis=1).sum())
        count += len(image.vectors)
        learnt = image.labels[~image.ignore]
        near, deltas, near_labels = _near(image)
        negative = _negative(image, len(samples))
        random = np.random.default_rng([seed, index])
        for label, own in enumerate(samples):
            if (learnt == label + 1).any():
                own.positives.append(image.vectors[: len(learnt)][learnt == label + 1])
            if (near_labels == label + 1).any():
                own.near.append(image.vectors[near[near_labels == label + 1]])
                own.deltas.append(deltas[near_labels == label + 1])
            rows = random.permutation(np.flatnonzero(negative[:, label]))[:share]
            drawn[label].append((rows + (index << 32), image.vectors[rows]))
    for own, parts in zip(samples, drawn, strict=True):
        own.negatives = _Negatives.of(parts)
    return _LENGTH * count / length if length > 0 else 1.0


def _mine(cache: FeatureCache, samples: Sequence[_Samples], title: str) -> list[_Negatives]:
    """Return the hardest negatives that the SVMs have not seen, in one pass."""
    pools = [_Pool() for _ in samples]
    for index, image in enumerate(progress(cache, len(cache), title)):
        vectors = image.vectors.astype(np.float32)
        negative = _negative(image, len(samples))
        for own, pool, allowed in zip(samples, pools, negative.T, strict=True):
            if own.plane is None:
                continue
            margins = vectors @ own.plane[:-1] + own.plane[-1]  # (N,)
            hard = allowed & (margins > _HARD)
            hard[own.negatives.of_image(index)] = False
            rows = np.flatnonzero(hard)
            if len(rows):
                pool.add(rows + (index << 32), image.vectors[rows], margins[rows])
    return [pool.hardest() for pool in pools]


class _Pool:
    """Keeps the hardest of all negatives that are added, in bounded memory."""

    def __init__(self) -> None:
        self._parts: list[tuple[NDArray[np.int64], Vectors, Floats]] = []
        self._count = 0

    def add(self, places: NDArray[np.int64], vectors: Vectors, margins: Floats) -> None:
        self._parts.append((places, vectors, margins))
        self._count += len(places)
        if self._count > 2 * _NEGATIVES:
            self._prune()

    def _prune(self) -> None:
        places, vectors, margins = (np.concatenate(values) for values in zip(*self._parts, strict=True))
        first = np.argsort(-margins, kind="stable")[:_NEGATIVES]
        self._parts, self._count = [(places[first], vectors[first], margins[first])], len(first)

    def hardest(self) -> _Negatives:
        if self._parts:
            self._prune()
        return _Negatives.of([(places, vectors) for places, vectors, _ in self._parts])


def _negative(image: CachedImage, classes: int) -> NDArray[np.bool_]:
    """Return bool (N, C): whether a candidate is a negative of a class.

    Ignored objects count as objects here, so that a candidate near one is neither positive nor negative.
    """
    out = np.ones((len(image.boxes), classes), bool)
    covered = coverage(*map(torch.from_numpy, (image.boxes, image.truth, image.crowd))).numpy()  # (N, G)
    for column, label in zip(covered.T, image.labels, strict=True):
        out[:, label - 1] &= column < _NEGATIVE_IOU
    return out


def _near(image: CachedImage) -> tuple[NDArray[np.int64], Floats, NDArray[np.int64]]:
    """Return the proposals near an object (K,), the deltas to the object (K, 4) and its label (K,)."""
    learnt = torch.from_numpy(image.truth[~image.ignore])
    boxes = torch.from_numpy(image.boxes)
    if len(learnt) == 0:
        return np.zeros(0, np.int64), np.zeros((0, 4), np.float32), np.zeros(0, np.int64)
    best, index = coverage(boxes, learnt, torch.zeros(len(learnt), dtype=torch.bool)).max(dim=1)
    best[: len(learnt)] = 0  # true boxes have zero deltas, and would teach the regression not to move
    rows = torch.nonzero(best > _NEAR_IOU).squeeze(1)
    deltas = encode(boxes[rows], learnt[index[rows]])
    return rows.numpy(), deltas.numpy(), image.labels[~image.ignore][index[rows].numpy()]


def _regress(near: Vectors, deltas: Floats, scale: float) -> tuple[Floats, Floats]:
    """Return weights (4, D) for unscaled vectors and the bias (4,), fitted on near (K, D) and deltas (K, 4)."""
    ridge = Ridge(alpha=_ALPHA).fit(near.astype(np.float32) * np.float32(scale), deltas)
    return (ridge.coef_ * scale).astype(np.float32), ridge.intercept_.astype(np.float32)
