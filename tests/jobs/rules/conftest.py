"""Twenty images of a plan with good records, in which tests plant faults."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from detector.runtime.artifact import Artifact, Baseline, load_artifact


@pytest.fixture(scope="session")
def measured(make_artifact: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Artifact:
    """An artifact that knows its test images: 1,000 with 2 cats and 1 dog each, scores spread evenly from .3 on."""
    artifact = load_artifact(make_artifact(tmp_path_factory.mktemp("measured") / "artifact", proposals=False))
    cats, dogs, *others = artifact.classes
    counts = [0, 0, 0, *[300] * 6, 200]
    return artifact.model_copy(
        update={
            "baseline": Baseline(
                images=1000,
                boxes={cats: counts, dogs: [count // 2 for count in counts]} | {name: [0] * 10 for name in others},
                sizes=[[0] * 10] * 10,
            )
        }
    )


@pytest.fixture(scope="session")
def artifact_model(artifact: Path) -> Artifact:
    """The description of an artifact without a baseline: at most 10 boxes an image, suppression above IoU .4."""
    return load_artifact(artifact)
