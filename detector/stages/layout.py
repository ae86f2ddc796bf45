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
# Not a product: the state of an unfinished training, and of the last finished one. A training job names another place.
CHECKPOINTS = Path("build/checkpoints")
CHECKPOINTS_VARIABLE = "BOXCAR_CHECKPOINTS"
EVALUATION = Path("build/evaluation")
# In EVALUATION: the artifact's description as far as `evaluate` knows it; `export` adds where it comes from.
DRAFT_FILE = "draft.json"
ARTIFACT = Path("models/detector")
