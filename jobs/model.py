"""The copy of the artifact in OUTPUT/model/, whose digest the plan pins."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from detector.common.errors import ArtifactError
from detector.runtime.artifact import Artifact, load_artifact, parse_artifact
from jobs.errors import ModelError
from jobs.formats import Plan, sha256
from jobs.storage import Store
from jobs.temporary import temporary_files, temporary_folder

# model.json is always written last, because it names the network's digest.
FILES = ("model.onnx", "model.json")
MISSING = "plan again with the same --model: that puts it back"


@dataclass(frozen=True)
class Model:
    """A verified artifact in a folder on this machine."""

    folder: Path
    artifact: Artifact
    sha256: str  # of model.json, which names that of model.onnx
    source: str | None = None  # as --model named it; None for the shipped one


def open_model(folder: Path, source: str | None = None) -> Model:
    """Verify the artifact in `folder`; raises ModelError."""
    try:
        return Model(folder, load_artifact(folder), sha256((folder / FILES[-1]).read_bytes()), source)
    except ArtifactError as error:
        raise ModelError(str(error)) from error


def copy_model(model: Model, output: Store) -> None:
    """Write the artifact to OUTPUT/model/."""
    for name in FILES:
        output.write(f"model/{name}", (model.folder / name).read_bytes())


def run_artifact(output: Store, plan: Plan) -> Artifact:
    """The description of the run's artifact; raises ModelError when OUTPUT holds another than the plan pins.

    The network is not read: its digest is checked where it is run.
    """
    name = FILES[-1]
    data = _read(output, f"model/{name}", MISSING)
    if sha256(data) != plan.artifact_sha256:
        raise _other_model(f"{output.uri}model/{name}", sha256(data), plan)
    try:
        return parse_artifact(data, f"{output.uri}model/{name}")
    except ArtifactError as error:
        raise ModelError(f"{error}; use the boxcar that planned the run") from error


@contextlib.contextmanager
def run_model(output: Store, plan: Plan) -> Iterator[Model]:
    """The artifact that the plan pins, in a temporary folder; raises ModelError when OUTPUT holds another."""
    with temporary_folder() as folder:
        download_model(output, "model/", folder, MISSING)
        model = open_model(folder)
        if model.sha256 != plan.artifact_sha256:
            raise _other_model(f"{output.uri}model/", model.sha256, plan)
        yield model


def download_model(store: Store, prefix: str, folder: Path, advice: str) -> None:
    """Copy the artifact below `prefix` into `folder`; raises ModelError with `advice` when a file is missing."""
    for name in FILES:
        data = _read(store, prefix + name, advice)
        with temporary_files():
            (folder / name).write_bytes(data)


def _read(store: Store, key: str, advice: str) -> bytes:
    data = store.read(key)
    if data is None:
        raise ModelError(f"{store.uri}{key}: missing; {advice}")
    return data


def _other_model(where: str, digest: str, plan: Plan) -> ModelError:
    return ModelError(
        f"{where}: sha256 {digest[:12]}, but the plan pins {plan.artifact_sha256[:12]}; "
        "put the planned artifact back, or plan a new OUTPUT"
    )
