"""--model: a folder, a bucket, or a DVC project's artifact at a revision."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import boto3
import pytest

from jobs.errors import ModelError, UsageError
from jobs.formats import Plan, sha256
from jobs.model_source import named_model
from tests.jobs.helpers import Boxcar, write_photos

DVC_YAML = "artifacts:\n  detector:\n    path: models/detector\n    type: model\n"


def _git(folder: Path, *words: str) -> None:
    identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
    subprocess.run(["git", *identity, *words], cwd=folder, check=True, capture_output=True)


def _dvc(folder: Path, *words: str) -> None:
    environment = os.environ | {"DVC_NO_ANALYTICS": "true"}
    command = [str(Path(sys.executable).parent / "dvc"), *words]
    subprocess.run(command, cwd=folder, check=True, capture_output=True, env=environment)


@pytest.fixture(scope="module")
def project(artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A DVC project: tag `one` declares and tracks an artifact, `none` declares nothing, `lost` was never pushed."""
    folder = tmp_path_factory.mktemp("project")
    _git(folder, "init", "--quiet", "--initial-branch", "main")
    _dvc(folder, "init", "--quiet")
    _git(folder, "commit", "--quiet", "--message", "empty")
    _git(folder, "tag", "none")
    shutil.copytree(artifact, folder / "models/detector")
    (folder / "dvc.yaml").write_text(DVC_YAML)
    _dvc(folder, "add", "--quiet", "models/detector")
    _git(folder, "add", "--all")
    _git(folder, "commit", "--quiet", "--message", "artifact")
    _git(folder, "tag", "one")
    return folder


def test_a_bucket(boxcar: Boxcar, moto: str, artifact: Path, tmp_path: Path) -> None:
    client = boto3.session.Session().client("s3")
    client.create_bucket(Bucket="models")
    for name in ("model.onnx", "model.json"):
        client.put_object(Bucket="models", Key=f"cats/3/{name}", Body=(artifact / name).read_bytes())
    photos = write_photos(tmp_path / "photos", 2)
    boxcar("plan", photos, tmp_path / "run", "--model", "s3://models/cats/3")
    plan = Plan.model_validate_json((tmp_path / "run/plan.json").read_bytes())
    assert plan.artifact_sha256 == sha256((artifact / "model.json").read_bytes())
    assert plan.model == "s3://models/cats/3"
    # The same artifact from elsewhere is the same plan.
    boxcar("plan", photos, tmp_path / "run", "--model", artifact)

    client.put_object(Bucket="models", Key="cats/3/model.onnx", Body=b"another network")
    result = boxcar("plan", photos, tmp_path / "other", "--model", "s3://models/cats/3", code=6)
    assert "has sha256" in result.stderr and not (tmp_path / "other").exists()
    result = boxcar("plan", photos, tmp_path / "other", "--model", "s3://models/dogs/", code=6)
    assert "s3://models/dogs/model.onnx: missing" in result.stderr


def test_a_dvc_artifact(project: Path, artifact: Path) -> None:
    with named_model(f"{project}:one") as model:
        assert model.artifact.classes == ("cat", "dog", "tree")
        assert model.sha256 == sha256((artifact / "model.json").read_bytes())
        assert model.folder != project / "models/detector"
    assert not model.folder.exists()


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("{project}:none", "declares no artifact `detector`|cannot be read"),
        ("{project}:later", "cannot be read: .*check the repository, the revision"),
        ("/nowhere/at/all:main", "cannot be read"),
        ("nothing-here", "no artifact here; build one with `dvc repro`"),
    ],
)
def test_what_is_not_there_is_named(project: Path, name: str, reason: str) -> None:
    name = name.format(project=project)
    with pytest.raises(ModelError, match=reason) as raised, named_model(name):
        pass
    assert name.split(":")[0] in str(raised.value)


@pytest.mark.parametrize("name", [":main", "project:", "https://example.org/us/boxes"])
def test_an_artifact_without_repository_or_revision(name: str) -> None:
    with pytest.raises(UsageError, match="is named REPO:REV"), named_model(name):
        pass
