"""The command line: help, schema, lazy imports."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest

from detector.common.quality import engine
from jobs.cli import main
from tests.jobs.helpers import Boxcar, write_photos


def test_every_command_has_help_and_an_example(boxcar: Boxcar) -> None:
    assert set(main.commands) == {
        "run", "plan", "work", "finish", "submit", "status", "validate", "report", "convert", "diff", "lineage",
        "schema", "doctor", "show", "verify", "sample", "audit",
    }  # fmt: skip
    assert "Exit codes" in boxcar("--help").output
    commands = dict(main.commands)
    (audit,) = (command for command in commands.values() if isinstance(command, click.Group))
    commands |= {f"audit {name}": command for name, command in audit.commands.items()}
    assert set(audit.commands) == {"draw", "judge", "status"}
    for name, command in commands.items():
        text = boxcar(*name.split(), "--help").output
        assert f"boxcar {name} " in text.split("Example:")[1]
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (name, parameter.name)


BLOCKED = """
import sys
class Blocker:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {blocked!r}:
            raise ImportError(f"{{name}} is blocked")
sys.meta_path.insert(0, Blocker())
"""


def _python(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_works_without_torch(artifact: Path, tmp_path: Path) -> None:
    photos = write_photos(tmp_path / "photos", 2)
    blocked = BLOCKED.format(blocked={"torch", "torchvision", "timm", "dvc", "great_expectations", "pandas"})
    for arguments in (["plan", str(photos), str(tmp_path / "run"), "--model", str(artifact)],
                      ["work", str(tmp_path / "run")]):  # fmt: skip
        result = _python(f"{blocked}\nfrom jobs.cli import main\nmain({arguments!r})")
        assert result.returncode == 0, result.stderr
    assert (tmp_path / "run/stats/part-0000000.json").exists()
    result = _python(f"{blocked}\nimport torch")
    assert "torch is blocked" in result.stderr


def test_help_imports_nothing_heavy() -> None:
    code = "import sys; from jobs.cli import main; main(['--help'], standalone_mode=False); print(*sys.modules)"
    modules = set(_python(code).stdout.split())
    assert "jobs.cli" in modules
    assert not modules & {"boto3", "onnxruntime", "great_expectations", "pandas", "pydantic", "numpy", "PIL", "tqdm"}


def test_rules_need_the_extra(boxcar: Boxcar, artifact: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run` says so before it works for hours."""
    photos = write_photos(tmp_path / "photos", 1)
    find = engine.importlib.util.find_spec
    monkeypatch.setattr(
        engine.importlib.util, "find_spec", lambda name: None if name == "great_expectations" else find(name)
    )
    result = boxcar("run", photos, tmp_path / "run", "--model", artifact, code=2)
    assert "pip install '.[quality]'" in result.stderr
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    "arguments",
    [
        ("run", "in"),
        ("run", "in", "out", "--min-score", "2"),
        ("run", "in", "out", "--part-size", "0"),
        ("run", "in", "out", "--latest", "s3://boxes/"),
        ("run", "ftp://in", "out", "--model", "."),
        ("work", "s3://"),
        ("nonsense",),
    ],
)
def test_wrong_usage(
    boxcar: Boxcar, arguments: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert "rror: " in boxcar(*arguments, code=2).stderr


def test_cuda_is_never_ignored(boxcar: Boxcar, artifact: Path, tmp_path: Path) -> None:
    """Several processes would share a GPU, so that they run on processors: who asks for a GPU gets it or an error."""
    photos = write_photos(tmp_path / "photos", 2)
    plan = ["run", photos, tmp_path / "run", "--model", artifact, "--device", "cuda"]
    assert "a GPU belongs to one process" in boxcar(*plan, "--processes", 2, code=2).stderr
    assert "device cuda" in boxcar(*plan, "--threads", 20, code=2).stderr
