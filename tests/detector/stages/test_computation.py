"""What counts as a change of a computation, on a package that the test writes."""

from __future__ import annotations

import ast
import importlib
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from detector.cli import main
from detector.common.sources import imported_sources
from detector.model.weights_file import WEIGHTS_FILE
from detector.stages.computation import SHIPPED_WEIGHTS, STAGES, computation_digest, write_digests

LOSS = '''"""The loss."""
from {package}.errors import BadError
from {package} import sampler

def loss(x):
    """What is minimised."""
    if x < 0:
        raise BadError(f"{{x}} is below zero")
    print("computing", 3)
    return 0.5 * x * sampler.WEIGHT  # half
'''


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Callable[..., str]:
    """The digest of a package's module `loss` after some replacements in its files."""
    package = f"package_{abs(hash(request.node.name))}"
    folder = tmp_path / package
    folder.mkdir()
    monkeypatch.syspath_prepend(str(tmp_path))

    def compute(file: str = "", old: str = "", new: str = "") -> str:
        contents = {
            "__init__.py": "",
            "errors.py": "class BadError(Exception):\n    pass\n",
            "sampler.py": "WEIGHT = 2.0\nSETTING = dict(description='weighs', default=1)\n",
            "loss.py": LOSS.format(package=package),
            "unrelated.py": "OTHER = 1\n",
        }
        if file:
            assert old in contents[file]
            contents[file] = contents[file].replace(old, new)
        for name, content in contents.items():
            (folder / name).write_text(content)
        importlib.invalidate_caches()
        sys.modules.pop(package, None)
        return computation_digest(f"{package}.loss")

    return compute


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("loss.py", "  # half", "  # the half of it"),
        ("loss.py", "What is minimised.", "The value that training makes small."),
        ("loss.py", '    """What is minimised."""\n', ""),
        ("loss.py", "is below zero", "is negative: use a positive number"),
        ("loss.py", '"computing"', '"now computing"'),
        ("loss.py", "    return", "\n\n    return"),
        ("sampler.py", "description='weighs'", "description='the weight'"),
        ("unrelated.py", "1", "2"),
    ],
)
def test_what_only_people_read_does_not_count(digest: Callable[..., str], file: str, old: str, new: str) -> None:
    assert digest() == digest(file, old, new)


@pytest.mark.parametrize(
    ("file", "old", "new"),
    [
        ("loss.py", "0.5", "0.25"),
        ("loss.py", "x < 0", "x <= 0"),
        ("loss.py", "BadError(f", "ValueError(f"),
        ("sampler.py", "2.0", "3.0"),
        ("sampler.py", "default=1", "default=2"),
    ],
)
def test_what_decides_a_number_counts(digest: Callable[..., str], file: str, old: str, new: str) -> None:
    assert digest() != digest(file, old, new)


@pytest.mark.parametrize(
    ("changed_module", "old", "new"),
    [
        ("detector.data.settings", b"default=0.15", b"default=0.2"),  # which source is split
        ("detector.common.file_names", b"_PART_BYTES = 200", b"_PART_BYTES = 100"),  # how an image is called
    ],
)
def test_what_decides_the_dataset_counts_for_fetch_only(
    monkeypatch: pytest.MonkeyPatch, changed_module: str, old: bytes, new: bytes
) -> None:
    stages = ("fetch", "train", "evaluate")
    before = [computation_digest(f"detector.stages.{stage}") for stage in stages]
    replaced = []

    def changed(module: str, file: Path) -> dict[str, bytes]:
        sources = imported_sources(module, file)
        if changed_module in sources:
            replaced.append(module)
            assert old in sources[changed_module]
            sources[changed_module] = sources[changed_module].replace(old, new)
        return sources

    monkeypatch.setattr("detector.stages.computation.imported_sources", changed)
    after = [computation_digest(f"detector.stages.{stage}") for stage in stages]
    assert [one == other for one, other in zip(before, after, strict=True)] == [False, True, True]
    assert "detector.stages.fetch" in replaced


def test_an_empty_field_that_another_python_adds_does_not_count(
    digest: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """As Python 3.12 did with the parameters of types."""
    before = digest()
    monkeypatch.setattr(ast.FunctionDef, "_fields", (*ast.FunctionDef._fields, "novelty"))
    monkeypatch.setattr(ast.FunctionDef, "novelty", [], raising=False)
    assert digest() == before


@pytest.mark.parametrize(("start", "lines"), [("voc20", 2), ("none", 1), (None, 1)])
def test_the_command_looks_at_the_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, start: str | None, lines: int
) -> None:
    """None: a folder without params.yaml."""
    monkeypatch.chdir(tmp_path)
    if start:
        content = yaml.safe_load((Path(__file__).parents[3] / "params.yaml").read_text())
        content["model"]["start_from"] = start
        Path("params.yaml").write_text(yaml.safe_dump(content))
    done = CliRunner().invoke(main, ["digests", "--computation", "build/computation"])
    assert done.exit_code == 0, done.output
    assert len(Path("build/computation/train").read_text().splitlines()) == lines


def test_the_weights_to_start_from_belong_to_the_training(tmp_path: Path) -> None:
    """An upgrade may ship another detector, from which `model.start_from: voc20` starts."""
    assert SHIPPED_WEIGHTS.name == WEIGHTS_FILE and SHIPPED_WEIGHTS.is_file()
    weights = tmp_path / WEIGHTS_FILE

    def written(start: Path | None) -> dict[str, str]:
        write_digests(tmp_path / "computation", start)
        return {stage: (tmp_path / "computation" / stage).read_text() for stage in STAGES}

    without = written(None)
    weights.write_bytes(b"one")
    one = written(weights)
    weights.write_bytes(b"two")
    two = written(weights)
    assert len({without["train"], one["train"], two["train"]}) == 3
    assert all(without[stage] == one[stage] == two[stage] for stage in STAGES if stage != "train")
