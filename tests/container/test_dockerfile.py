"""What can be said of the Dockerfile without building it; `make lint` holds it to hadolint's rules."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parents[2]
TEXT = re.sub(r"^ *#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE).replace("\\\n", " ")
# What each stage is based on, and its own instructions.
STAGES = {
    name: (base, own)
    for base, name, own in re.findall(r"^FROM (\S+) AS (\S+)\n(.*?)\n*(?=^FROM |\Z)", TEXT, re.MULTILINE | re.DOTALL)
}
PROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def _instructions(target: str) -> str:
    """Those of a target and of all stages beneath it."""
    base, own = STAGES[target]
    return f"{_instructions(base)}\n{own}" if base in STAGES else own


def _names(target: str) -> set[str]:
    """The packages that a target asks for by default, by pyproject.toml."""
    extras = re.findall(r"--extra (\S+)", re.sub(r"\$\{\w+:\+[^}]*\}", "", _instructions(target)))
    asked = PROJECT["dependencies"] + [line for extra in extras for line in PROJECT["optional-dependencies"][extra]]
    return {re.split(r"[^\w.-]", line)[0] for line in asked}


def test_the_job_has_all_that_it_may_need_and_no_torch() -> None:
    assert {"onnxruntime", "boto3", "great-expectations", "pyarrow"} <= _names("job")
    assert not {"torch", "torchvision", "timm", "dvc", "ray", "numba"} & _names("job")
    assert {"torch", "dvc"} <= _names("train")


@pytest.mark.parametrize("target", ["job", "job-gpu", "train"])
def test_every_installation_is_bound_by_the_lock(target: str) -> None:
    installations = re.findall(r"uv pip install[^&;\n]*", _instructions(target))
    assert len(installations) >= 2
    assert all("--constraints requirements.lock" in line or "--no-deps" in line for line in installations)


@pytest.mark.parametrize("target", ["job", "job-gpu", "train"])
def test_no_target_runs_as_root(target: str) -> None:
    assert re.findall(r"^USER (.*)$", _instructions(target), re.MULTILINE) == ["10001:10001"]


def test_the_image_for_gpus_is_the_other_one_with_another_runtime() -> None:
    (base, own), (gpu_base, gpu_own) = STAGES["job"], STAGES["job-gpu"]
    assert gpu_base == base == "job-packages"
    swap = gpu_own.removesuffix(own)
    assert swap != gpu_own  # all that `job` says, `job-gpu` says last
    assert re.findall(r"^[A-Z]+", swap, re.MULTILINE) == ["ARG", "RUN", "ENV"]
    assert "uninstall --python /opt/boxcar onnxruntime " in swap and "onnxruntime-gpu[cuda,cudnn]==" in swap


def test_the_default_target_is_the_job() -> None:
    assert list(STAGES)[-1] == "job"


def test_machine_code_is_made_for_the_processor_that_the_documentation_names() -> None:
    documented = (ROOT / "docs/proposals.md").read_text()
    (recipe,) = re.findall(r"^ENV (NUMBA_CPU_NAME=\S+) (NUMBA_CPU_FEATURES=\S+)$", documented, re.MULTILINE)
    warm_up = _instructions("job").index("python -m detector.proposals.warm_up")
    assert all(_instructions("job").index(setting) < warm_up for setting in recipe)
