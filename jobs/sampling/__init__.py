"""Draws images and boxes of a published run for people to look at, with the probability that each had."""

from __future__ import annotations

from jobs.sampling.boxes import draw_boxes
from jobs.sampling.copies import copy_images
from jobs.sampling.planned import published_plan
from jobs.sampling.sample import WAYS, EarlierRound, SampledRun, draw_sample, read_earlier

__all__ = [
    "WAYS",
    "EarlierRound",
    "SampledRun",
    "copy_images",
    "draw_boxes",
    "draw_sample",
    "published_plan",
    "read_earlier",
]
