"""What is written agrees with what is there: README, dvc.yaml, params, help texts."""

from __future__ import annotations

from pathlib import Path

import click
import pytest
import yaml

from detector.cli import main as detector
from detector.params import Params, load_params
from detector.stages import layout
from jobs.cli import main as boxcar

ROOT = Path(__file__).parents[1]
COMMANDS = [
    (name, command) for name, group in (("detector", detector), ("boxcar", boxcar)) for command in group.commands
]
STAGES = ("fetch", "propose", "train", "evaluate", "export")


def _command(group: str, name: str) -> click.Command:
    return {"detector": detector, "boxcar": boxcar}[group].commands[name]


@pytest.mark.parametrize(("group", "name"), COMMANDS)
def test_every_command_has_help_and_stands_in_the_readme(group: str, name: str) -> None:
    assert _command(group, name).help
    assert f"{group} {name}" in (ROOT / "README.md").read_text()


def test_the_two_commands_open_the_readme() -> None:
    first_block = (ROOT / "README.md").read_text().split("```")[1]
    assert "make demo" in first_block and "make test" in first_block


def test_dvc_runs_the_five_stages_with_the_sections_that_params_has() -> None:
    stages = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    assert tuple(stages) == STAGES
    for name, stage in stages.items():
        assert stage["cmd"] == f"detector {name}"
        assert set(stage["params"]) <= set(Params.model_fields)
        for dependency in stage["deps"]:
            assert dependency.startswith("build/") or (ROOT / dependency).exists(), dependency


def test_dvc_and_the_layout_name_the_same_paths() -> None:
    text = (ROOT / "dvc.yaml").read_text()
    for path in (
        layout.DATASET,
        layout.PROPOSALS,
        layout.PROPOSAL_METRICS,
        layout.TRAINING,
        layout.TRAINING_LOG,
        layout.EVALUATION,
        layout.ARTIFACT,
    ):
        assert path.as_posix() in text


@pytest.mark.parametrize(
    "path", [Path("params.yaml"), *sorted(p.relative_to(ROOT) for p in ROOT.glob("settings/*.yaml"))]
)
def test_every_settings_file_loads(path: Path) -> None:
    assert load_params(ROOT / path).model.name == "fast_rcnn"


def test_the_lock_names_no_index_and_pins_every_line() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert lines and all("==" in line and "://" not in line and not line.startswith("-") for line in lines)
