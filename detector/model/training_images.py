"""Training images for torch: decoded, resized and changed at random, in batches of similar shape.

Everything random depends on the seed, the epoch and the image's index, and not on the number of loader processes or on
a resume.
"""

from __future__ import annotations

import resource
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from detector.common.cores import cores
from detector.data.annotations import CocoDataset
from detector.model.augmentations import CHANGES, AnnotatedImage, draw_scale, view
from detector.model.distributed import World
from detector.model.rare_classes import repeat_factors
from detector.params import TrainSettings
from detector.proposals.store import Proposals
from detector.runtime.images import frame_size, normalise
from detector.runtime.preprocess import own_preprocessing, resized_size
from detector.runtime.reading import Reading, read_image

# One loader process keeps a CPU's training busy; a GPU trains some ten times as fast.
_CPU_LOADERS, _GPU_LOADERS = 1, 8


@dataclass(frozen=True)
class Example:
    """One training image. image: float32 (3, H, W); proposals: (N, 4), truth: (G, 4) xyxy in its pixels; labels: (G,)
    from 1; ignore, crowd: (G,) bool, where crowds are ignored too; seed: the seed of this image in this epoch."""

    image: Tensor
    proposals: Tensor
    truth: Tensor
    labels: Tensor
    ignore: Tensor
    crowd: Tensor
    seed: int

    def generator(self, purpose: str) -> torch.Generator:
        """Return a generator for one purpose, which does not depend on the other images of the batch."""
        return torch.Generator().manual_seed((self.seed + zlib.crc32(purpose.encode())) % 2**63)


class TrainingImages(Dataset[Example]):
    """A dataset whose item (index, image_size, epoch) is an Example."""

    def __init__(
        self,
        folder: Path,
        truth: CocoDataset,
        proposals: Proposals,
        limit: int,
        seed: int,
        augment: Sequence[str] = (),
    ) -> None:
        """Use the images in `folder`, with at most `limit` proposals each; augment: names of random changes."""
        self._folder, self._truth, self._proposals = folder, truth, proposals
        self._limit, self._seed, self._augment = limit, seed, tuple(augment)

    def __len__(self) -> int:
        return len(self._truth.images)

    @property
    def classes(self) -> tuple[str, ...]:
        """Return the names of the classes; the first one has label 1."""
        return self._truth.classes

    def __getitem__(self, key: tuple[int, int, int]) -> Example:
        index, image_size, epoch = key
        info = self._truth.images[index]
        data = (self._folder / info.file_name).read_bytes()
        settings = own_preprocessing(image_size)
        height, width = resized_size(settings, *frame_size(data))
        random = np.random.default_rng([self._seed, epoch, index])
        factor = draw_scale(self._augment, random)
        rows, columns = max(1, round(factor * height)), max(1, round(factor * width))
        read = read_image(data, Reading(rows, columns, settings.interpolation))
        scale = np.array([columns / read.width, rows / read.height] * 2, np.float32)
        proposals = (self._proposals[index][: self._limit] * scale).astype(np.float32)
        truth = (info.boxes * scale).astype(np.float32)
        image = AnnotatedImage(read.pixels, truth, info.labels, info.ignore, info.crowd, proposals)
        if (rows, columns) != (height, width):
            image = view(image, height, width, random)
        for name, change in CHANGES.items():
            if name in self._augment:
                image = change(image, random)
        return Example(
            torch.from_numpy(normalise(image.pixels)),
            torch.from_numpy(image.proposals),
            torch.from_numpy(image.truth),
            torch.from_numpy(image.labels + 1),
            torch.from_numpy(image.ignore | image.crowd),  # a crowd is not one object
            torch.from_numpy(image.crowd),
            int(random.integers(2**63)),
        )


def _shown(group: NDArray[np.intp], weights: NDArray[np.float64], generator: np.random.Generator) -> NDArray[np.intp]:
    """Return the images of an epoch: each of the group (N,) as often as its weight says, rounded down or up.

    Systematic sampling: an epoch always has the same number of images, and over epochs each is shown by its weight.
    """
    if (weights == 1).all():
        return group
    ends = weights.cumsum()
    count = max(1, round(ends[-1]))
    places = (np.arange(count) + generator.random()) * (ends[-1] / count)
    return group[np.searchsorted(ends, places, side="right").clip(max=len(group) - 1)]


class LikeShapes(Sampler[list[tuple[int, int, int]]]):
    """The batches of one epoch, in seeded random order; each has one size, drawn from `train.image_sizes`.

    Landscape and portrait images are in different batches, so that there is little padding. A batch has
    `train.batch_size` images for each process, and each process gets its own slice of it. `weights` has, for each
    batch, the weight of the slice in a mean over the processes.
    """

    def __init__(
        self,
        truth: CocoDataset,
        settings: TrainSettings,
        epoch: int,
        world: World = World(),  # noqa: B008 (frozen)
    ) -> None:
        batch_size = settings.batch_size * world.size
        generator = np.random.default_rng([settings.seed, epoch])
        wide = np.array([image.width >= image.height for image in truth.images], bool)
        batches = []
        weights = np.array([image.weight for image in truth.images])
        weights = weights * repeat_factors(truth.images, len(truth.classes), settings.repeat_below)
        for group in (np.flatnonzero(wide), np.flatnonzero(~wide)):
            shuffled = generator.permutation(_shown(group, weights[group], generator))
            batches += [shuffled[i : i + batch_size] for i in range(0, len(shuffled), batch_size)]
        sizes = generator.choice(np.asarray(settings.image_sizes), len(batches))
        self._batches: list[list[tuple[int, int, int]]] = []
        self.weights: list[float] = []
        for batch in generator.permutation(len(batches)):
            whole = [(int(index), int(sizes[batch]), epoch) for index in batches[batch]]
            own = whole[world.rank :: world.size]
            # The last batch may have too few images, but every process must take part in every step.
            self._batches.append(own or whole[:1])
            self.weights.append(len(own) * world.size / len(whole))

    def __len__(self) -> int:
        return len(self._batches)

    def __iter__(self) -> Iterator[list[tuple[int, int, int]]]:
        return iter(self._batches)


def collate(examples: list[Example], square: bool = False) -> tuple[Tensor, list[Example]]:
    """Pad the images with zeros, the mean colour, to float32 (B, 3, H, W), channels last; return the examples too.

    square: H and W are the longest side of all images, and not the greatest height and width. The images of the
    returned examples have a shape and no pixels, so that loader processes do not send all pixels twice.
    """
    height = max(example.image.shape[1] for example in examples)
    width = max(example.image.shape[2] for example in examples)
    if square:
        height = width = max(height, width)
    images = torch.zeros(len(examples), 3, height, width).contiguous(memory_format=torch.channels_last)
    for slot, example in zip(images, examples, strict=True):
        slot[:, : example.image.shape[1], : example.image.shape[2]] = example.image
    return images, [replace(example, image=example.image.to("meta")) for example in examples]


class Batches(Protocol):
    """Batches of images (B, 3, H, W) with their examples."""

    def __len__(self) -> int: ...
    def __iter__(self) -> Iterator[tuple[Tensor, list[Example]]]: ...


def _allow_many_files() -> None:
    """Let this process open as many files as the system allows: each tensor from a loader process is one."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def batches(images: TrainingImages, keys: Iterable[list[tuple[int, int, int]]], device: torch.device) -> Batches:
    """Return the batches with these keys of `images`, which other processes make ahead of their use."""
    on_cpu = device.type == "cpu"
    if not on_cpu:
        _allow_many_files()
    loaders = _CPU_LOADERS if on_cpu else min(_GPU_LOADERS, cores())
    return DataLoader(  # type: ignore[return-value]  # its type does not say what collate_fn makes
        images,
        batch_sampler=keys,
        # We suspect that new shapes, each of which cuDNN plans anew, slow a GPU down: docs/benchmarks.md.
        collate_fn=partial(collate, square=not on_cpu),
        num_workers=loaders,
        prefetch_factor=2,
        pin_memory=not on_cpu,  # without it, a copy to the GPU waits for the GPU's work
    )
