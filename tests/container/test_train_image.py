"""The target `train`: seven gigabytes, so it is built by these tests alone."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.container.engine import ROOT, Engine, Image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]  # the first test builds


@pytest.fixture(scope="session")
def train(engine: Engine) -> Image:
    """The target `train`."""
    return engine.build("train")


def _git(*words: str, folder: Path) -> str:
    return subprocess.run(["git", *words], cwd=folder, capture_output=True, text=True, check=True).stdout


def test_torch_is_that_of_the_lock_with_cuda(train: Image) -> None:
    code = "import torch, torchvision; print(torch.__version__.partition('+')[0], torch.version.cuda is not None)"
    done = train.run("python", "-c", code, writable_root=True)
    assert done.returncode == 0, done.stderr
    version, cuda = done.stdout.split()
    assert f"torch=={version}" in (ROOT / "requirements.lock").read_text().split()
    assert cuda == "True"


def test_it_holds_the_commit_and_no_other_file_of_the_folder(train: Image) -> None:
    head = train.run("git", "rev-parse", "HEAD").stdout
    assert head == _git("rev-parse", "HEAD", folder=ROOT)
    assert train.run("git", "status", "--short", "--ignored").stdout == ""
    assert train.run("git", "remote").stdout == ""


def test_alone_it_reproduces_the_project_that_is_mounted_for_its_owner(train: Image, tmp_path: Path) -> None:
    project = tmp_path / "project"
    _git("clone", "--quiet", str(ROOT), str(project), folder=tmp_path)
    params = yaml.safe_load((project / "params.yaml").read_text())
    params["fetch"]["sources"][0]["splits"] = {"train": 16, "val": 8, "test": 8}
    params["train"]["epochs"] = 1
    (project / "params.yaml").write_text(yaml.safe_dump(params))
    for path in (project, *project.rglob("*")):
        os.chown(path, 4321, 4321, follow_symlinks=False)
    done = train.run(mounts={"/project": project}, user=(4321, 4321), writable_root=True)
    assert done.returncode == 0, done.stderr
    artifact = json.loads((project / "models/detector/model.json").read_text())
    assert artifact["git_revision"] == _git("rev-parse", "HEAD", folder=ROOT).strip()
    assert (project / "dvc.lock").stat().st_uid == 4321
