"""Stores the vectors of a whole training split on disk: they do not fit in memory and are expensive to compute.

Each image has a file, which is written as a whole or not at all, so that stopped caching can resume. Shapes: N
candidates of one image (its true boxes that are not ignored, then its proposals), G true boxes, D numbers in a vector.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from detector.common.errors import TrainingError
from detector.common.files import replaced
from detector.common.progress import progress
from detector.model.crops import CropNetwork
from detector.model.training_images import TrainingImages
from detector.runtime.geometry.boxes import Boxes

_KEY_FILE = "key"
_LARGEST = float(np.finfo(np.float16).max)


@dataclass(frozen=True, eq=False)
class CachedImage:
    """The vectors of one image: float16 (N, D) for boxes float32 (N, 4) xyxy; truth (G, 4), labels (G,) from 1, ignore
    and crowd (G,) as in `Example`. The first boxes are the true ones that are not ignored, in their order."""

    vectors: NDArray[np.float16]
    boxes: Boxes
    truth: Boxes
    labels: NDArray[np.int64]
    ignore: NDArray[np.bool_]
    crowd: NDArray[np.bool_]


class FeatureCache:
    """The files of one folder, as a sequence of `CachedImage`."""

    def __init__(self, folder: Path, images: int) -> None:
        self._folder, self._images = folder, images

    def __len__(self) -> int:
        return self._images

    def __getitem__(self, index: int) -> CachedImage:
        if not 0 <= index < self._images:
            raise IndexError(index)
        with np.load(self.path(index)) as file:
            return CachedImage(**file)

    def __iter__(self) -> Iterator[CachedImage]:
        return (self[index] for index in range(self._images))

    def path(self, index: int) -> Path:
        """Return the path of one image's file."""
        return self._folder / f"{index:07d}.npz"

    def write(self, index: int, image: CachedImage) -> None:
        """Replace one image's file in one step."""
        with replaced(self.path(index)) as file:
            np.savez(file, **asdict(image))

    @property
    def bytes(self) -> int:
        """Return the size of all files on disk."""
        return sum(self.path(index).stat().st_size for index in range(self._images))


def cache_features(network: CropNetwork, images: TrainingImages, image_size: int, folder: Path) -> FeatureCache:
    """Return the vectors of every image's candidates, computed with `network`, which is in evaluation mode.

    images: not flipped; folder: is made if needed, and emptied if it holds the vectors of another network. Vectors that
    exist are not computed again. Raises TrainingError if a vector is not finite.
    """
    _claim(folder, _key(network, image_size))
    cache = FeatureCache(folder, len(images))
    missing = [index for index in range(len(images)) if not cache.path(index).exists()]
    for index in progress(missing, len(missing), "caching features"):
        cache.write(index, _compute(network, images, index, image_size))
    return cache


def _key(network: CropNetwork, image_size: int) -> str:
    digest = hashlib.sha256(f"{image_size} {network.crop_size}".encode())
    for name, value in network.backbone.state_dict().items():
        digest.update(name.encode())
        digest.update(value.detach().cpu().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _claim(folder: Path, key: str) -> None:
    """Make `folder` the cache with this key, and empty it if its key is another one."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / _KEY_FILE
    if not file.exists() or file.read_text() != key:
        file.unlink(missing_ok=True)  # deleted first, so that a killed process leaves no mixture under a key
        for path in folder.glob("*.npz"):
            path.unlink()
        file.write_text(key)


@torch.inference_mode()
def _compute(network: CropNetwork, images: TrainingImages, index: int, image_size: int) -> CachedImage:
    example = images[index, image_size, 0]
    boxes = torch.cat([example.truth[~example.ignore], example.proposals])
    device = next(network.backbone.parameters()).device
    image = example.image[None].to(device, memory_format=torch.channels_last)
    parts = [network.vectors(image, [part.to(device)]).cpu().numpy() for part in boxes.split(network.batch)]
    vectors = np.concatenate([np.zeros((0, network.channels), np.float32), *parts])
    if not np.isfinite(vectors).all() or (len(vectors) and np.abs(vectors).max() > _LARGEST):
        raise TrainingError(f"the features of image {index} are not finite in float16: lower train.learning_rate")
    return CachedImage(
        vectors.astype(np.float16),
        boxes.numpy(),
        example.truth.numpy(),
        example.labels.numpy(),
        example.ignore.numpy(),
        example.crowd.numpy(),
    )
