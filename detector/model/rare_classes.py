"""Shows images with rare classes more often: repeat-factor sampling (Gupta et al., LVIS, CVPR 2019, section 5)."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detector.data.annotations import ImageInfo


def repeat_factors(images: Sequence[ImageInfo], classes: int, threshold: float) -> NDArray[np.float64]:
    """Return how often an epoch shows each image, float64 (N,), from 1 on.

    A class that the share f of the images has gets the factor max(1, sqrt(threshold / f)), and an image the largest
    factor of its classes. Ignored objects and crowds do not count, because nothing is learnt from them. threshold: a
    share of the images; 0 gives 1 for all.
    """
    with_class = np.zeros((len(images), classes), bool)
    for row, image in zip(with_class, images, strict=True):
        row[image.labels[~(image.ignore | image.crowd)]] = True
    shares = with_class.mean(axis=0) if len(images) else np.ones(classes)
    needed = np.sqrt(threshold / np.maximum(shares, 1 / max(1, len(images))))
    factors: NDArray[np.float64] = np.where(with_class, np.maximum(1.0, needed), 1.0).max(axis=1, initial=1.0)
    return factors
