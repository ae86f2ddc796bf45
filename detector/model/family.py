"""The members of the detector family by name."""

from __future__ import annotations

from detector.model.fast_rcnn import FastRCNN
from detector.params import ModelSettings

FAMILY = {"fast_rcnn": FastRCNN}


def build(settings: ModelSettings, classes: int, weights: str | None = None) -> FastRCNN:
    """A new network for `classes` classes; weights: instead of `model.weights`."""
    return FAMILY[settings.name](settings, classes, settings.weights if weights is None else weights)
