"""Stage `export`: writes the evaluated graph and its description as an artifact, which runs without torch.

It measures nothing: the graph is copied, and the figures are those of the stage `evaluate`.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from pydantic import TypeAdapter

from detector.common.errors import ArtifactError
from detector.model.weights_file import WEIGHTS_FILE, save_half
from detector.params import Params, params_digest
from detector.runtime.artifact import MODEL_FILE, load_artifact, save_artifact
from detector.runtime.label_run import LabelRun
from detector.stages.digests import data_digest
from detector.stages.layout import DRAFT_FILE, LABEL_RUNS

_CODE = ("--untracked-files=no", "--", ".", ":!params.yaml", ":!dvc.lock")


def run(params: Params, dataset: Path, weights: Path, evaluation: Path, out: Path) -> None:
    """Write the artifact `out`: model.onnx and model.json from the results of `evaluate` in `evaluation`, and beside
    them the training's `weights` in half precision, from which another training can start.

    `out` is replaced in one step when the new artifact is complete. Raises ArtifactError if the evaluation is missing
    or its files do not belong together, and WeightsError if the weights cannot be read.
    """
    try:
        draft = load_artifact(evaluation, DRAFT_FILE)
    except ArtifactError as error:
        raise ArtifactError(f"{error}; run the stage `evaluate`") from error
    origin = {
        "git_revision": git_revision(),
        "data_digest": data_digest(dataset),
        "params_digest": params_digest(params),
        "label_runs": read_label_runs(dataset / LABEL_RUNS),
    }
    new = out.with_name(f"{out.name}.new")
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    shutil.copyfile(evaluation / MODEL_FILE, new / MODEL_FILE)
    save_half(new / WEIGHTS_FILE, weights)
    save_artifact(draft.model_copy(update=origin), new)
    shutil.rmtree(out, ignore_errors=True)
    new.replace(out)


def read_label_runs(path: Path) -> tuple[LabelRun, ...]:
    """Return the published runs that the labels come from; none of a dataset that an earlier version fetched."""
    return TypeAdapter(tuple[LabelRun, ...]).validate_json(path.read_bytes()) if path.exists() else ()


def git_revision() -> str | None:
    """Return the commit of the working tree's code, with `+changes` if files differ from it, or None outside git.

    params.yaml and dvc.lock may differ, because the artifact has digests of their contents.
    """
    try:
        return _git("rev-parse", "HEAD") + ("+changes" if _git("status", "--porcelain", *_CODE) else "")
    except (FileNotFoundError, subprocess.CalledProcessError):
        return None


def _git(*words: str) -> str:
    return subprocess.run(["git", *words], capture_output=True, text=True, check=True).stdout.strip()
