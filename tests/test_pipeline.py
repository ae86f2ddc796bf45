"""The pipeline through DVC itself, in a small copy of the project: `dvc repro` as an ML engineer runs it."""

from __future__ import annotations

import csv
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from detector.stages import layout

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
    """A clone with small settings and a cache of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
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
        self.run("git", "init", "--quiet")
        self.commit("small settings")

    def run(self, *command: str) -> str:
        """What a command prints; its failure fails the test with that text."""
        environment = os.environ | {
            # The commands of this environment, over the copy's code.
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
            "PYTHONPATH": str(self.folder),
            "DVC_NO_ANALYTICS": "true",
            "GIT_CONFIG_GLOBAL": os.devnull,
            "OMP_NUM_THREADS": "1",
        }
        done = subprocess.run(
            command, cwd=self.folder, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert done.returncode == 0, done.stdout
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
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    made = Project(tmp_path_factory.mktemp("project"))
    made.run("dvc", "repro")
    made.commit("first repro")
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


def test_a_changed_threshold_reruns_only_what_depends_on_it_and_diff_shows_it(project: Project) -> None:
    printed = project.run("dvc", "exp", "run", "-S", "evaluate.max_proposals=20")
    assert "Running stage 'evaluate'" in printed and "Running stage 'export'" in printed
    assert "Running stage 'train'" not in printed and "Running stage 'fetch'" not in printed
    diff = json.loads(project.run("dvc", "metrics", "diff", "--json"))
    changed = diff["build/evaluation/metrics.json"]["proposal_mabo"]
    assert changed["new"] < changed["old"]
    assert "evaluate.max_proposals" in project.run("dvc", "exp", "show", "--csv")
    project.run("git", "checkout", "--quiet", "params.yaml", "dvc.lock")
    project.run("dvc", "checkout", "--quiet")


def test_two_runs_from_clean_give_the_same_metrics(project: Project) -> None:
    first = project.metrics()
    project.run("dvc", "repro", "--force")
    assert project.metrics() == first
