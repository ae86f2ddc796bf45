"""README, dvc.yaml, params.yaml and help texts agree with the code."""

from __future__ import annotations

import re
from pathlib import Path

import click
import grimp
import pytest
import yaml

from detector.cli import main as detector
from detector.data.settings import FetchSettings
from detector.params import Params, load_params
from detector.stages import layout
from jobs.cli import main as boxcar

ROOT = Path(__file__).parents[1]
COMMANDS = [
    (name, command) for name, group in (("detector", detector), ("boxcar", boxcar)) for command in group.commands
]
PAGES = ("README.md", "CONTRIBUTING.md")
# Relative links and images of a Markdown page.
LINK = re.compile(r"\]\(([^)#:]+)\)")
ANCHOR = re.compile(r"\]\(([^)#:\s]*\.md|)#([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
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


def _stages() -> dict[str, dict[str, list[str]]]:
    stages: dict[str, dict[str, list[str]]] = yaml.safe_load((ROOT / "dvc.yaml").read_text())["stages"]
    return stages


def test_dvc_runs_the_five_stages_with_the_sections_that_params_has() -> None:
    assert tuple(_stages()) == STAGES
    for name, stage in _stages().items():
        assert stage["cmd"] == f"detector {name}"
        assert {param.split(".")[0] for param in stage["params"]} <= set(Params.model_fields)


# What a stage imports and what cannot change its result: errors, progress bars, the settings' classes (DVC compares
# their values), paths, and the file that starts the training, which decides nothing.
WITHOUT_EFFECT = (
    "detector/__init__.py", "detector/common/", "detector/params.py", "detector/data/settings.py",
    "detector/stages/layout.py", "detector/stages/metrics_file.py", "detector/stages/train.py",
    "detector/stages/computation.py",
)  # fmt: skip
# Parts of these that decide a result all the same.
WITH_EFFECT = {f"detector/common/{name}.py" for name in ("content_coding", "file_names", "s3_names")}


@pytest.mark.parametrize("name", STAGES)
def test_a_stage_depends_on_the_code_that_decides_its_result(name: str) -> None:
    graph = grimp.build_graph("detector")
    own = f"detector.stages.{name}"
    modules = {own, *graph.find_upstream_modules(own)}
    files = {path for module in modules if (ROOT / (path := module.replace(".", "/") + ".py")).is_file()}
    files = {path for path in files if path in WITH_EFFECT or not path.startswith(WITHOUT_EFFECT)}
    stated = [path for path in _stages()[name]["deps"] if not path.startswith("build/")]
    covered = {path: {file for file in files if file == path or file.startswith(f"{path}/")} for path in stated}
    assert files - set().union(*covered.values()) == set(), "imported, but no dependency"
    assert [path for path, used in covered.items() if not used] == [], "a dependency, but not imported"


def test_dvc_and_the_layout_name_the_same_paths() -> None:
    outs: set[str] = set()
    for stage in _stages().values():
        for kind in ("outs", "metrics", "plots"):
            outs |= {out if isinstance(out, str) else next(iter(out)) for out in stage.get(kind, [])}
    for path in (layout.DATASET, layout.PROPOSALS, layout.PROPOSAL_METRICS, layout.TRAINING, layout.ARTIFACT):
        assert path.as_posix() in outs
    for path in (layout.TRAINING_LOG, layout.EVALUATION):
        assert any(out.startswith(f"{path.as_posix()}/") for out in outs)


@pytest.mark.parametrize("path", [*PAGES, *sorted(p.relative_to(ROOT).as_posix() for p in ROOT.glob("docs/*.md"))])
def test_every_link_leads_somewhere(path: str) -> None:
    for link in LINK.findall((ROOT / path).read_text()):
        assert ((ROOT / path).parent / link).exists(), link
    for link, anchor in ANCHOR.findall((ROOT / path).read_text()):
        page = (ROOT / path).parent / link if link else ROOT / path
        assert anchor in {_anchor(heading) for heading in HEADING.findall(page.read_text())}, f"{link}#{anchor}"


def _anchor(heading: str) -> str:
    """The name that GitHub gives a heading."""
    return re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-")


BLOCK = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)


def _blocks(language: str) -> list[tuple[str, str]]:
    pages = [*PAGES, *sorted(path.relative_to(ROOT).as_posix() for path in ROOT.glob("docs/*.md"))]
    found = [(page, block) for page in pages for block in BLOCK.findall((ROOT / page).read_text())]
    return [(page, text) for page, (name, text) in found if name == language]


def test_every_documented_command_has_the_options_that_it_is_shown_with() -> None:
    seen = 0
    for page, text in _blocks("sh"):
        for line in text.replace("\\\n", " ").splitlines():
            words = re.sub(r"\s#.*", "", line).split()
            group = next((word for word in words if word in ("detector", "boxcar")), None)
            rest = words[words.index(group) + 1 :] if group else []
            if group is None or not rest or rest[0] not in {"detector": detector, "boxcar": boxcar}[group].commands:
                continue
            command = _command(group, rest[0])
            if isinstance(command, click.Group):
                command = command.commands[rest[1]]
            known = {name for param in command.params for name in param.opts} | {"--help"}
            options = {word.split("=")[0] for word in rest if word.startswith("--")}
            assert options <= known, (page, line, options - known)
            seen += 1
    assert seen > 50


def test_every_documented_source_is_valid() -> None:
    shown = [(page, text) for page, text in _blocks("yaml") if text.startswith("fetch:")]
    assert len(shown) == 4
    for page, text in shown:
        try:
            FetchSettings.model_validate(yaml.safe_load(text)["fetch"])
        except ValueError as error:
            raise AssertionError(f"{page}: {error}") from error


@pytest.mark.parametrize(
    "path", [Path("params.yaml"), *sorted(p.relative_to(ROOT) for p in ROOT.glob("settings/*.yaml"))]
)
def test_every_settings_file_loads(path: Path) -> None:
    load_params(ROOT / path)


def test_the_lock_names_no_index_and_pins_every_line() -> None:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    assert lines and all("==" in line and "://" not in line and not line.startswith("-") for line in lines)
