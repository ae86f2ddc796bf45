"""Where the stages' products lie, relative to the project's folder; dvc.yaml names the same paths."""

from __future__ import annotations

from pathlib import Path

PARAMS = Path("params.yaml")
DATASET = Path("build/dataset")
PROPOSALS = Path("build/proposals")
PROPOSAL_METRICS = Path("build/proposals.json")
TRAINING = Path("build/train")
TRAINING_LOG = Path("build/log")
# Not a product: the state of an unfinished training, kept for a resume.
CHECKPOINT = Path("build/checkpoint/last.pt")
EVALUATION = Path("build/evaluation")
ARTIFACT = Path("models/detector")
