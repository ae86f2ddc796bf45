"""Where the stages' products lie, relative to the project's folder; dvc.yaml names the same paths."""

from __future__ import annotations

from pathlib import Path

SPLITS = ("train", "val", "test")

PARAMS = Path("params.yaml")
DATASET = Path("build/dataset")
PROPOSALS = Path("build/proposals")
PROPOSAL_METRICS = Path("build/proposals.json")
TRAINING = Path("build/train")
TRAINING_LOG = Path("build/log")
# Not a product: the states of unfinished trainings, kept for a resume.
CHECKPOINTS = Path("build/checkpoints")
EVALUATION = Path("build/evaluation")
ARTIFACT = Path("models/detector")
