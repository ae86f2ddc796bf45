"""The target `job-gpu` where there is no GPU: it is as locked down as `job`, and works on the processor."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.formats import Manifest
from tests.container.engine import Engine, Image

pytestmark = [pytest.mark.slow, pytest.mark.timeout(3600)]  # the first test builds


@pytest.fixture(scope="module")
def job_gpu(engine: Engine) -> Image:
    """The target `job-gpu`."""
    return engine.build("job-gpu")


def test_it_has_the_cuda_provider_and_not_the_other_package(job_gpu: Image) -> None:
    code = """
import importlib.metadata as m, json, os, onnxruntime
names = [d.name for d in m.distributions() if d.name.startswith("onnxruntime")]
print(json.dumps([os.getuid(), names, onnxruntime.get_available_providers()]))
"""
    user, names, providers = json.loads(job_gpu.run("-c", code, entrypoint=("python",)).stdout)
    assert (user, names) == (10001, ["onnxruntime-gpu"])
    assert {"CUDAExecutionProvider", "CPUExecutionProvider"} <= set(providers)


def test_it_publishes_with_a_read_only_root(job_gpu: Image, photos: Path, shared: Callable[[str], Path]) -> None:
    mounts = {"/data": photos, "/tmp": shared("tmp")}
    refused = job_gpu.run("run", "photos", "boxes", "--device", "cuda", mounts=mounts)
    assert refused.returncode == 2, refused.stderr
    done = job_gpu.run("run", "photos", "boxes", mounts=mounts)
    assert done.returncode == 0, done.stderr
    manifest = Manifest.model_validate_json((photos / "boxes/manifest.json").read_bytes())
    assert manifest.status == "valid" and manifest.images == 3 and manifest.boxes["cat"] == 1
