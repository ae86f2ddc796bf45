"""The pipeline through DVC itself, in a small copy of the project: `dvc repro` as an ML engineer runs it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import boto3
import pytest
import yaml

from detector.common.digests import sha256_of
from detector.stages import layout
from tests.support.local_s3 import LocalS3

ROOT = Path(__file__).parents[1]
# Small enough for seconds, large enough to find something to score.
SMALL = {
    "fetch.generated": {"train": 8, "val": 4, "test": 4},
    "propose.max_boxes": 200,
    "model.weights": "none",
    "model.image_size": 96,
    "model.pyramid_channels": 8,
    "model.hidden": 16,
    "train.epochs": 2,
    "train.batch_size": 4,
    "train.image_sizes": [96],
    "evaluate.max_proposals": 100,
    "evaluate.min_score": 0.0,
    "evaluate.max_detections": 20,
}


class Project:
    """A project's folder, and commands in it."""

    def __init__(self, folder: Path, server: LocalS3) -> None:
        self.folder = folder
        self.server = server

    @classmethod
    def small(cls, folder: Path, server: LocalS3) -> Project:
        """A copy of this one with small settings, and a DVC remote in a bucket."""
        made = cls(folder, server)
        for name in ("detector", "dvc.yaml", ".dvcignore", ".gitignore", "params.yaml"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
            else:
                shutil.copyfile(source, folder / name)
        for name in (".dvc/config", ".dvc/plots/by_label.json", ".dvc/plots/by_part.json"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(ROOT / name, folder / name)
        params = yaml.safe_load((folder / "params.yaml").read_text())
        for key, value in SMALL.items():
            section, name = key.split(".")
            assert name in params[section]
            params[section][name] = value
        (folder / "params.yaml").write_text(yaml.safe_dump(params))
        made.run("git", "init", "--quiet")
        # Through the server, which remembers what it listed.
        boto3.session.Session().client("s3", endpoint_url=server.endpoint).create_bucket(Bucket="dvc")
        made.run("dvc", "remote", "add", "--default", "storage", "s3://dvc/boxcar")
        made.commit("small settings")
        return made

    def environment(self) -> dict[str, str]:
        """The commands of this environment, over the project's code."""
        settings = self.server.root.with_name("aws-settings")  # DVC refuses /dev/null
        settings.touch()
        return self.server.environment() | {
            "AWS_CONFIG_FILE": str(settings),
            "AWS_SHARED_CREDENTIALS_FILE": str(settings),
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(self.folder),
            "DVC_NO_ANALYTICS": "true",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "OMP_NUM_THREADS": "1",
        }

    def run(self, *command: str, code: int = 0) -> str:
        """What a command prints; another exit code than `code` fails the test with that text."""
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        assert done.returncode == code, done.stdout
        return done.stdout

    def commit(self, message: str) -> None:
        """Commit all that git does not ignore."""
        self.run("git", "add", "--all")
        identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        self.run("git", *identity, "commit", "--quiet", "--allow-empty", "--message", message)

    def metrics(self) -> dict[str, float]:
        """The test split's figures."""
        values: dict[str, float] = json.loads((self.folder / layout.EVALUATION / "metrics.json").read_text())
        return values


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, s3_server: LocalS3) -> Project:
    """Reproduced, committed and pushed."""
    made = Project.small(tmp_path_factory.mktemp("project"), s3_server)
    made.run("dvc", "repro")
    made.commit("first repro")
    made.run("dvc", "push", "--run-cache")
    return made


@pytest.fixture(scope="module")
def clone(project: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A fresh clone in another folder, with a cache of its own, and nothing pulled."""
    made = Project(tmp_path_factory.mktemp("clone"), project.server)
    made.run("git", "clone", "--quiet", str(project.folder), ".")
    return made


def test_repro_makes_every_product_that_the_layout_names(project: Project) -> None:
    for path in (
        layout.DATASET / "test.json",
        layout.PROPOSALS / "train.npz",
        layout.PROPOSAL_METRICS,
        layout.TRAINING / "weights.pt",
        layout.EVALUATION / "grid.png",
        layout.EVALUATION / "evaluation.html",
        layout.ARTIFACT / "model.onnx",
        layout.ARTIFACT / "model.json",
    ):
        assert (project.folder / path).is_file(), path
    assert not list((project.folder / layout.CHECKPOINTS).glob("*.pt"))


def test_repro_after_repro_does_nothing(project: Project) -> None:
    assert "Running stage" not in project.run("dvc", "repro")


def test_metrics_and_plots_can_be_shown(project: Project) -> None:
    shown = json.loads(project.run("dvc", "metrics", "show", "--json"))[""]["data"]
    assert "build/evaluation/metrics.json" in shown and "models/detector/metrics.json" in shown
    page = project.run("dvc", "plots", "show").strip().removeprefix("file://")
    text = Path(page).read_text()
    for title in ("Training loss", "Recall of the proposals", "Precision and recall", "Average precision by class"):
        assert title in text
    assert "DVC_METRIC" not in text.replace("DVC_METRIC_DATA", "")  # every placeholder of the template was filled


def test_every_plot_has_a_title_axes_and_its_data(project: Project) -> None:
    plots = yaml.safe_load((project.folder / "dvc.yaml").read_text())["plots"]
    drawn = [definition for plot in plots if isinstance(plot, dict) for definition in plot.values()]
    assert len(drawn) == 4
    for plot in drawn:
        assert plot["title"] and plot["x_label"] and plot["y_label"]
        for name, fields in plot["y"].items():
            text = (project.folder / name).read_text()
            rows = (
                json.loads(text) if name.endswith(".json") else list(csv.DictReader(text.splitlines(), delimiter="\t"))
            )
            wanted = {plot["x"], *([fields] if isinstance(fields, str) else fields)}
            assert rows and all(wanted <= set(row) for row in rows), name
    for picture in (plot for plot in plots if isinstance(plot, str)):
        assert (project.folder / picture).is_file()


def test_the_job_takes_the_artifact_of_a_revision_from_the_remote(clone: Project, project: Project) -> None:
    """Before anything is pulled."""
    photos = project.folder / layout.DATASET / "images"
    clone.run("boxcar", "plan", str(photos), "planned", "--model", f"{clone.folder}:HEAD")
    planned = json.loads((clone.folder / "planned/plan.json").read_bytes())
    assert planned["artifact_sha256"] == sha256_of(project.folder / layout.ARTIFACT / "model.json")
    shutil.rmtree(clone.folder / "planned")


def test_repro_does_nothing_where_products_were_pulled(clone: Project, project: Project) -> None:
    assert not (clone.folder / layout.ARTIFACT).exists()
    clone.run("dvc", "pull")
    assert "Running stage" not in clone.run("dvc", "repro")
    assert clone.metrics() == project.metrics()
    assert clone.run("git", "status", "--porcelain") == ""
    digests = clone.run("detector", "digests")
    artifact = json.loads((clone.folder / layout.ARTIFACT / "model.json").read_bytes())
    assert artifact["params_digest"] in digests and artifact["data_digest"] in digests


def test_a_changed_threshold_reruns_only_what_depends_on_it_and_diff_shows_it(clone: Project) -> None:
    project = clone
    printed = project.run("dvc", "exp", "run", "-S", "evaluate.max_proposals=20")
    assert "Running stage 'evaluate'" in printed and "Running stage 'export'" in printed
    assert "Running stage 'train'" not in printed and "Running stage 'fetch'" not in printed
    diff = json.loads(project.run("dvc", "metrics", "diff", "--json"))
    changed = diff["build/evaluation/metrics.json"]["proposal_mabo"]
    assert changed["new"] < changed["old"]
    assert "evaluate.max_proposals" in project.run("dvc", "exp", "show", "--csv")
    project.run("git", "checkout", "--quiet", "params.yaml", "dvc.lock")
    project.run("dvc", "checkout", "--quiet")


def test_a_stopped_training_job_goes_on_elsewhere_and_pushes_its_products(project: Project, tmp_path: Path) -> None:
    """As AWS Batch runs it on spot machines: nothing is left of a machine but what lies in the bucket."""
    project.run("git", "checkout", "--quiet", "-b", "longer")
    params = yaml.safe_load((project.folder / "params.yaml").read_text())
    params["train"]["epochs"] = 12
    (project.folder / "params.yaml").write_text(yaml.safe_dump(params))
    pipeline = yaml.safe_load((project.folder / "dvc.yaml").read_text())
    stages = {name: pipeline["stages"][name] for name in ("fetch", "propose", "train")}
    (project.folder / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    project.commit("longer")
    project.run("git", "checkout", "--quiet", "-")
    there = Project(tmp_path, project.server)
    command = ("detector", "job", str(project.folder), "longer", "--checkpoints", "s3://dvc/checkpoints", "--folder")

    first = subprocess.Popen(
        [*command, "first"], cwd=tmp_path, env=there.environment(), stdout=subprocess.PIPE, text=True
    )
    checkpoints = tmp_path / "first" / layout.CHECKPOINTS
    while not list(checkpoints.glob("*.pt")):
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.05)
    first.terminate()
    printed = first.communicate()[0]
    assert first.returncode == 143, printed
    assert "Running stage 'fetch'" not in printed  # its products came from the run cache
    assert [path.suffix for path in (project.server.root / "dvc/checkpoints").iterdir()] == [".pt"]
    shutil.rmtree(tmp_path / "first")

    printed = there.run(*command, "second")
    assert "restored from s3://dvc/checkpoints" in printed and "Running stage 'train'" in printed
    log = (tmp_path / "second/build/log/metrics.json").read_text()
    assert json.loads(log)["step"] == 12

    third = Project(tmp_path / "third", project.server)
    third.folder.mkdir()
    third.run("git", "clone", "--quiet", "--branch", "longer", str(project.folder), ".")
    assert "Running stage" not in third.run("dvc", "repro", "--pull")
    weights = [tmp_path / name / layout.TRAINING / "weights.pt" for name in ("second", "third")]
    assert sha256_of(weights[0]) == sha256_of(weights[1])


def test_two_runs_from_clean_give_the_same_metrics(project: Project) -> None:
    first = project.metrics()
    project.run("dvc", "repro", "--force")
    assert project.metrics() == first
