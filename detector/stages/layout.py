"""The paths of the stages' results, relative to the project's folder; dvc.yaml names the same paths."""

from __future__ import annotations

from pathlib import Path

from detector.data.settings import SPLITS as SPLITS

PARAMS, PIPELINE, LOCK = Path("params.yaml"), Path("dvc.yaml"), Path("dvc.lock")
# Which split each image of a source without splits belongs to; git tracks it.
SIDES = Path("splits.csv")
DATASET = Path("build/dataset")
# In DATASET: the published runs whose boxes became labels.
LABEL_RUNS = "runs.json"
PROPOSALS = Path("build/proposals")
PROPOSAL_METRICS = Path("build/proposals.json")
TRAINING = Path("build/train")
TRAINING_LOG = Path("build/log")
# The state of an unfinished training, and of the last finished one; it is not a result. A training job uses another
# place.
CHECKPOINTS = Path("build/checkpoints")
CHECKPOINTS_VARIABLE = "BOXCAR_CHECKPOINTS"
EVALUATION = Path("build/evaluation")
# In EVALUATION: the artifact's description without its origin, which `export` adds.
DRAFT_FILE = "draft.json"
ARTIFACT = Path("models/detector")
# Folders that stages replace, and DVC deletes before: no source may lie in them.
PRODUCTS = (DATASET, PROPOSALS, TRAINING, EVALUATION, ARTIFACT)
