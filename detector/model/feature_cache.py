"""The vectors of a whole training split on disk: too many for memory, too dear to be computed twice.

One file an image, written whole or not at all, so that a stopped caching goes on where it was. Shapes: N candidates of
one image (its true boxes that are to be learnt, then its proposals), G true boxes, D numbers a vector.
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
    """vectors float16 (N, D) of boxes float32 (N, 4) xyxy; truth (G, 4), labels (G,) from 1, ignore and crowd (G,) as
    in `Example`. The first boxes are the true ones that are not ignored, in their order."""

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
        """The file of one image."""
        return self._folder / f"{index:07d}.npz"

    def write(self, index: int, image: CachedImage) -> None:
        """Replace one image's file in one step."""
        with replaced(self.path(index)) as file:
            np.savez(file, **asdict(image))

    @property
    def bytes(self) -> int:
        """On disk."""
        return sum(self.path(index).stat().st_size for index in range(self._images))


def cache_features(network: CropNetwork, images: TrainingImages, image_size: int, folder: Path) -> FeatureCache:
    """The vectors of every image's candidates, as `network` computes them in use; network: in evaluation mode.

    images: not flipped; folder: is made, and emptied where it holds another network's vectors. What is there already is
    not computed again. Raises TrainingError for vectors that are no numbers.
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
    """Make `folder` one of this key."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / _KEY_FILE
    if not file.exists() or file.read_text() != key:
        file.unlink(missing_ok=True)  # first: a kill leaves no mixture with a key
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
        raise TrainingError(
            f"the features of image {index} are no numbers that float16 holds: lower train.learning_rate"
        )
    return CachedImage(
        vectors.astype(np.float16),
        boxes.numpy(),
        example.truth.numpy(),
        example.labels.numpy(),
        example.ignore.numpy(),
        example.crowd.numpy(),
    )
