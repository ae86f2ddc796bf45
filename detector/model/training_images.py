"""Training images for torch: decoded, resized, flipped, in batches of like shape.

Everything random is drawn from the seed, the epoch and the image's index: the same whatever the number of loader
processes, and after a resume.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import Dataset, Sampler

from detector.data.annotations import CocoDataset
from detector.model.distributed import World
from detector.proposals.store import Proposals
from detector.runtime.images import decode_image, normalise, resize


@dataclass(frozen=True)
class Example:
    """image float32 (3, H, W); proposals (N, 4), truth (G, 4) xyxy in its pixels; labels (G,) from 1; ignore and crowd
    (G,) bool, crowds being ignored too; seed: of all that is drawn for this image in this epoch."""

    image: Tensor
    proposals: Tensor
    truth: Tensor
    labels: Tensor
    ignore: Tensor
    crowd: Tensor
    seed: int

    def generator(self, purpose: str) -> torch.Generator:
        """Random numbers for one purpose, the same whichever images share the batch."""
        return torch.Generator().manual_seed((self.seed + zlib.crc32(purpose.encode())) % 2**63)


class TrainingImages(Dataset[Example]):
    """Item (index, image_size, epoch) -> Example, flipped left to right half of the time."""

    def __init__(
        self, folder: Path, truth: CocoDataset, proposals: Proposals, limit: int, seed: int, *, flip: bool = True
    ) -> None:
        """folder: of the images; limit: proposals an image at most; flip: False leaves every picture as it is."""
        self._folder, self._truth, self._proposals = folder, truth, proposals
        self._limit, self._seed, self._flip = limit, seed, flip

    def __len__(self) -> int:
        return len(self._truth.images)

    @property
    def classes(self) -> tuple[str, ...]:
        """Their names; label 1 is the first."""
        return self._truth.classes

    def __getitem__(self, key: tuple[int, int, int]) -> Example:
        index, image_size, epoch = key
        info = self._truth.images[index]
        pixels = decode_image((self._folder / info.file_name).read_bytes())
        resized = resize(pixels, image_size)
        scale = np.array([resized.scale_x, resized.scale_y] * 2, np.float32)
        boxes = [self._proposals[index][: self._limit] * scale, info.boxes * scale]
        picture = resized.pixels
        random = np.random.default_rng([self._seed, epoch, index])
        if random.random() < 0.5 and self._flip:
            picture = picture[:, ::-1]
            width = picture.shape[1]
            boxes = [np.stack([width - b[:, 2], b[:, 1], width - b[:, 0], b[:, 3]], axis=1) for b in boxes]
        return Example(
            torch.from_numpy(normalise(picture)),
            torch.from_numpy(boxes[0].astype(np.float32)),
            torch.from_numpy(boxes[1].astype(np.float32)),
            torch.from_numpy(info.labels + 1),
            torch.from_numpy(info.ignore | info.crowd),  # a crowd's box is no object to learn
            torch.from_numpy(info.crowd),
            int(random.integers(2**63)),
        )


class LikeShapes(Sampler[list[tuple[int, int, int]]]):
    """Batches of one epoch: landscape and portrait pictures apart, so that little is padded, in seeded random order;
    each batch has one size drawn from `image_sizes`.

    Of several processes each has its own slice of every batch of `batch_size` images a process; `weights` says for each
    batch what its slice is worth in a mean over the processes.
    """

    def __init__(
        self,
        truth: CocoDataset,
        batch_size: int,
        image_sizes: tuple[int, ...],
        seed: int,
        epoch: int,
        world: World = World(),  # noqa: B008 (frozen)
    ) -> None:
        batch_size *= world.size
        generator = np.random.default_rng([seed, epoch])
        wide = np.array([image.width >= image.height for image in truth.images], bool)
        batches = []
        for group in (np.flatnonzero(wide), np.flatnonzero(~wide)):
            shuffled = generator.permutation(group)
            batches += [shuffled[i : i + batch_size] for i in range(0, len(shuffled), batch_size)]
        sizes = generator.choice(np.asarray(image_sizes), len(batches))
        self._batches: list[list[tuple[int, int, int]]] = []
        self.weights: list[float] = []
        for batch in generator.permutation(len(batches)):
            whole = [(int(index), int(sizes[batch]), epoch) for index in batches[batch]]
            own = whole[world.rank :: world.size]
            # The last batch may be too small for all; every process must take part in every step.
            self._batches.append(own or whole[:1])
            self.weights.append(len(own) * world.size / len(whole))

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        return iter(self._batches)


def collate(examples: list[Example]) -> tuple[Tensor, list[Example]]:
    """Images padded with zeros (the mean colour) to one float32 (B, 3, H, W), channels last; the rest as it is."""
    height = max(example.image.shape[1] for example in examples)
    width = max(example.image.shape[2] for example in examples)
    images = torch.zeros(len(examples), 3, height, width).contiguous(memory_format=torch.channels_last)
    for slot, example in zip(images, examples, strict=True):
        slot[:, : example.image.shape[1], : example.image.shape[2]] = example.image
    return images, examples
