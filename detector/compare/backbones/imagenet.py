"""Measures top-1 accuracy on a folder of ImageNet's validation images."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

from detector.common.errors import AnnotationError
from detector.common.progress import progress
from detector.compare.backbones.classifiers import Transform

CLASSES = 1000
_BATCH = 32


def check_layout(folder: Path, classes: int = CLASSES) -> None:
    """Raise AnnotationError unless the folder has one folder for each class.

    Their names are WordNet ids (n01440764, ...), and in the order of these the classes are 0 to 999.
    """
    found = sum(path.is_dir() for path in folder.iterdir())
    if found != classes:
        raise AnnotationError(
            f"{folder} holds {found} folders, not one for each of the {classes:,} classes: sort the validation images "
            "into folders named by their WordNet ids (n01440764, ...)"
        )


def measure_top1(network: nn.Module, transform: Transform, folder: Path, workers: int, title: str = "top-1") -> float:
    """Return the percentage of the images in `folder` whose best class is that of their folder.

    workers: the number of processes that read images. Raises AnnotationError if there is no image.
    """
    data = ImageFolder(str(folder), transform, allow_empty=True)
    if not len(data):
        raise AnnotationError(f"{folder} holds no images")
    batches = DataLoader(data, _BATCH, num_workers=workers)
    right = 0
    with torch.inference_mode():
        for images, labels in progress(batches, len(batches), title, unit="batch"):
            right += int((network(images).argmax(dim=1) == labels).sum())
    return 100 * right / len(data)
