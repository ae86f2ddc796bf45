"""Draws images of a published run for people to look at, with the probability that each image had."""

from __future__ import annotations

from jobs.sampling.copies import copy_images
from jobs.sampling.sample import WAYS, EarlierRound, SampledRun, draw_sample, read_earlier

__all__ = ["WAYS", "EarlierRound", "SampledRun", "copy_images", "draw_sample", "read_earlier"]
