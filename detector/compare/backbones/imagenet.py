"""Top-1 accuracy, measured on a folder of ImageNet's validation images."""

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
    """One folder a class, named by its WordNet id (n01440764, ...): in their order they are the classes 0 to 999.

    Raises AnnotationError.
    """
    found = sum(path.is_dir() for path in folder.iterdir())
    if found != classes:
        raise AnnotationError(
            f"{folder} holds {found} folders, not one for each of the {classes:,} classes: sort the validation images "
            "into folders named by their WordNet ids (n01440764, ...)"
        )


def measure_top1(network: nn.Module, transform: Transform, folder: Path, workers: int, title: str = "top-1") -> float:
    """Per cent of all images in `folder` whose best class is the folder's; workers: processes that read images.

    Raises AnnotationError when there is no image.
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
