"""Run the pipeline through DVC itself, in a small copy of the project: `dvc repro` as an ML engineer runs it."""

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

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[1]
# Small enough for seconds, large enough to find something to score.
SMALL = {
    "fetch.sources": [{"format": "generated", "splits": {"train": 4, "val": 2, "test": 2}}],
    "propose.max_boxes": 200,
    "model.start_from": "none",
    "model.image_size": 64,
    "model.pyramid_channels": 8,
    "model.hidden": 16,
    "train.precision": "fp32",  # the same on every processor
    "train.epochs": 1,
    "train.batch_size": 2,
    "train.image_sizes": [64],
    "detect.max_proposals": 100,
    "detect.min_score": 0.0,
    "detect.max_detections": 20,
}


class Project:
    """The folder of a project, and the way to run commands in it."""

    def __init__(self, folder: Path, server: LocalS3) -> None:
        self.folder = folder
        self.server = server

    @classmethod
    def small(cls, folder: Path, server: LocalS3) -> Project:
        """Copy this project, with small settings and a DVC remote in a bucket."""
        made = cls(folder, server)
        for name in ("detector", "dvc.yaml", ".dvcignore", ".gitignore", "params.yaml"):
            source = ROOT / name
            if source.is_dir():
                shutil.copytree(source, folder / name)  # with its compiled kernels, which take long to make
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
        """Return variables with which this environment's commands run the project's code."""
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
        """Return what a command prints. Another exit code than `code` fails the test with that text."""
        process = self.start(*command)
        printed = process.communicate()[0]
        assert process.returncode == code, printed
        return printed

    def start(self, *command: str) -> subprocess.Popen[str]:
        """A command that runs beside the test; its output is in the pipe."""
        return subprocess.Popen(
            command,
            cwd=self.folder,
            env=self.environment(),
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def commit(self, message: str) -> None:
        """Commit all that git does not ignore."""
        self.run("git", "add", "--all")
        identity = ("-c", "user.name=test", "-c", "user.email=test@localhost")
        self.run("git", *identity, "commit", "--quiet", "--allow-empty", "--message", message)

    def metrics(self) -> dict[str, float]:
        """Return the figures of the test split."""
        values: dict[str, float] = json.loads((self.folder / layout.EVALUATION / "metrics.json").read_text())
        return values


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory, s3_server: LocalS3) -> Project:
    """A project that is reproduced, committed and pushed."""
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
    kernels = "detector/proposals/__pycache__"
    shutil.copytree(project.folder / kernels, made.folder / kernels)
    return made


def test_repro_makes_every_product_that_the_layout_names(project: Project) -> None:
    for path in (
        layout.DATASET / "test.json",
        layout.PROPOSALS / "train.npz",
        layout.PROPOSAL_METRICS,
        layout.TRAINING / "weights.safetensors",
        layout.EVALUATION / "grid.png",
        layout.EVALUATION / "evaluation.html",
        layout.ARTIFACT / "model.onnx",
        layout.ARTIFACT / "model.json",
    ):
        assert (project.folder / path).is_file(), path
    assert len(list((project.folder / layout.CHECKPOINTS).glob("*.pt"))) == 1  # of the finished training


def test_repro_after_repro_does_nothing(project: Project) -> None:
    assert "Running stage" not in project.run("dvc", "repro")


def test_metrics_and_plots_can_be_shown(project: Project) -> None:
    shown = json.loads(project.run("dvc", "metrics", "show", "--json"))[""]["data"]
    assert "build/evaluation/metrics.json" in shown
    page = project.run("dvc", "plots", "show").strip().removeprefix("file://")
    text = Path(page).read_text()
    for title in ("Training loss", "Recall of the proposals", "Precision and recall", "Average precision by class"):
        assert title in text
    assert "DVC_METRIC" not in text.replace("DVC_METRIC_DATA", "")  # every placeholder of the template was filled


def test_every_plot_has_a_title_axes_and_its_data(project: Project) -> None:
    plots = yaml.safe_load((project.folder / "dvc.yaml").read_text())["plots"]
    drawn = [definition for plot in plots if isinstance(plot, dict) for definition in plot.values()]
    assert len(drawn) == 5
    for plot in drawn:
        assert plot["title"] and plot["x_label"] and plot["y_label"]
        for name, fields in plot["y"].items():
            text = (project.folder / name).read_text()
            rows = (
                json.loads(text) if name.endswith(".json") else list(csv.DictReader(text.splitlines(), delimiter="\t"))
            )
            wanted = {plot["x"], *([fields] if isinstance(fields, str) else fields)}
            assert rows and all(wanted <= set(row) for row in rows), name
    for image in (plot for plot in plots if isinstance(plot, str)):
        assert (project.folder / image).is_file()


def test_the_job_takes_the_artifact_of_a_revision_from_the_remote(clone: Project, project: Project) -> None:
    """The job needs nothing but the repository and its remote: nothing has been pulled yet."""
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
    printed = project.run("dvc", "exp", "run", "-S", "detect.max_proposals=20")
    assert "Running stage 'evaluate'" in printed and "Running stage 'export'" in printed
    assert "Running stage 'train'" not in printed and "Running stage 'fetch'" not in printed
    diff = json.loads(project.run("dvc", "metrics", "diff", "--json"))
    changed = diff["build/evaluation/metrics.json"]["proposal_mabo"]
    assert changed["new"] < changed["old"]
    assert "detect.max_proposals" in project.run("dvc", "exp", "show", "--csv")
    project.run("git", "checkout", "--quiet", "params.yaml", "dvc.lock")
    project.run("dvc", "checkout", "--quiet")


# Edits that cannot change a result of `train`: file, text, its replacement.
HARMLESS = {
    "a message": ("detector/common/errors.py", "cannot be read", "can not be read"),
    "a page's template": ("detector/evaluation/templates/evaluation.html", "<", "<!-- new --><"),
    "a log line": ("detector/stages/train.py", "training on", "learning on"),
    "a docstring": ("detector/stages/computation.py", '"""', '"""Newly: '),
    "the exporter": ("detector/export/onnx_export.py", "_OPSET = 17", "_OPSET = 16"),
}
HARMFUL = {
    "the loss": ("detector/model/losses.py", "box_weight * box_loss", "2.0 * box_weight * box_loss"),
    "the sampler": ("detector/model/augmentations.py", "random.random() >= 0.5", "random.random() >= 0.4"),
    "the reader of images": ("detector/runtime/images.py", "MAX_PIXELS = ", "MAX_PIXELS = 1 + "),
    "the depth of samples": ("detector/runtime/decoding/depth.py", "2 ** (bits - 2)", "2 ** (bits - 3)"),
}


def edit(project: Project, file: str, old: str, new: str) -> None:
    """Replace the first place of a text in a file of the project."""
    path = project.folder / file
    text = path.read_text()
    assert old in text, file
    path.write_text(text.replace(old, new, 1))


@pytest.mark.parametrize("what", [*HARMLESS, *HARMFUL])
def test_status_of_train_sees_changes_that_matter_and_no_others(project: Project, what: str) -> None:
    file, old, new = (HARMLESS | HARMFUL)[what]
    try:
        edit(project, file, old, new)
        status = json.loads(project.run("dvc", "status", "--json", "train"))
        assert bool(status) == (what in HARMFUL), status
    finally:
        project.run("git", "checkout", "--quiet", file)


def test_a_docstring_of_the_model_costs_no_training(project: Project) -> None:
    """DVC compares files as they are; the stage then finds that its computation is the same, and ends at once."""
    before = sha256_of(project.folder / layout.TRAINING / "weights.safetensors")
    (checkpoint,) = (project.folder / layout.CHECKPOINTS).glob("*.pt")
    written = checkpoint.stat().st_mtime_ns
    try:
        edit(project, "detector/model/losses.py", '"""', '"""Newly: ')
        assert "Running stage 'train'" in project.run("dvc", "repro", "train")
        assert sha256_of(project.folder / layout.TRAINING / "weights.safetensors") == before
        assert checkpoint.stat().st_mtime_ns == written  # no epoch was trained
    finally:
        project.run("git", "checkout", "--quiet", "detector", "dvc.lock")


def test_settings_that_change_while_train_runs_are_never_locked(project: Project) -> None:
    """The lock would say the new learning rate, and `dvc status` would say up to date."""
    lock = (project.folder / "dvc.lock").read_bytes()
    params = project.folder / "params.yaml"
    content = yaml.safe_load(params.read_text())
    content["train"]["epochs"] = 8  # some are left when the settings change
    params.write_text(yaml.safe_dump(content))
    restored = params.read_text()
    running = project.start("dvc", "repro", "train")
    checkpoints = project.folder / layout.CHECKPOINTS
    while len(list(checkpoints.glob("*.pt"))) < 2:
        assert running.poll() is None, running.communicate()[0]
        time.sleep(0.02)
    content["train"]["learning_rate"] = 0.5
    params.write_text(yaml.safe_dump(content))
    printed = running.communicate()[0]
    assert running.returncode != 0 and "train.learning_rate was changed from" in printed, printed
    assert (project.folder / "dvc.lock").read_bytes() == lock
    params.write_text(restored)
    (checkpoint,) = checkpoints.glob("*.pt")
    written = checkpoint.stat().st_mtime_ns
    project.run("dvc", "repro", "train")
    assert checkpoint.stat().st_mtime_ns == written  # the weights come from the checkpoint: nothing was trained again
    project.run("git", "checkout", "--quiet", "params.yaml", "dvc.lock")
    project.run("dvc", "checkout", "--quiet")


def test_stages_refuse_products_of_other_settings(project: Project) -> None:
    try:
        edit(project, "params.yaml", "max_boxes: 200", "max_boxes: 150")
        printed = project.run("detector", "train", code=2)
        assert (
            "propose.max_boxes was changed from 200 to 150 since build/proposals was made: run `dvc repro`" in printed
        )
        assert "since build/evaluation was made" in project.run("detector", "export", code=2)
    finally:
        project.run("git", "checkout", "--quiet", "params.yaml")


def test_a_stopped_training_job_goes_on_elsewhere_and_pushes_its_products(project: Project, tmp_path: Path) -> None:
    """As AWS Batch runs it on Spot machines: when one is taken away, only what lies in the bucket is left."""
    project.run("git", "checkout", "--quiet", "-b", "longer")
    params = yaml.safe_load((project.folder / "params.yaml").read_text())
    # An epoch must take longer than the stop, because this server is not atomic: a broken upload damages the object.
    params["train"].update(epochs=5, average=0.0, image_sizes=[64, 384, 384, 384])
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
    checkpoints = project.server.root / "dvc/checkpoints"
    before, now = None, 0
    while before != now or not now:  # this server shows a file while it is still being written
        assert first.poll() is None, first.communicate()[0]
        time.sleep(0.05)
        before, now = now, sum(path.stat().st_size for path in checkpoints.glob("*.pt"))
    first.terminate()
    printed = first.communicate()[0]
    assert first.returncode == 143, printed
    assert "Running stage 'fetch'" not in printed  # its products came from the run cache
    assert [path.suffix for path in checkpoints.iterdir()] == [".pt"]
    shutil.rmtree(tmp_path / "first")

    printed = there.run(*command, "second")
    assert "Running stage 'train'" in printed
    log = (tmp_path / "second/build/log/metrics.json").read_text()
    assert json.loads(log)["step"] == 5

    third = Project(tmp_path / "third", project.server)
    third.folder.mkdir()
    third.run("git", "clone", "--quiet", "--branch", "longer", str(project.folder), ".")
    assert "Running stage" not in third.run("dvc", "repro", "--pull")
    weights = [tmp_path / name / layout.TRAINING / "weights.safetensors" for name in ("second", "third")]
    assert sha256_of(weights[0]) == sha256_of(weights[1])


def test_two_runs_from_clean_give_the_same_metrics(project: Project) -> None:
    first = project.metrics()
    project.run("dvc", "repro", "--force")
    assert project.metrics() == first
