"""The stage of every fault, made once for all tests, and what every one of them must show."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.jobs.helpers import encoded
from tests.support.faults.world import World, build_world
from tests.support.local_s3 import LocalS3


@pytest.fixture(scope="session")
def world(s3_server: LocalS3, artifact: Path, tmp_path_factory: pytest.TempPathFactory) -> World:
    """Twenty small images in parts of four, in processes that start quickly and wait briefly."""
    photos = {f"{index:02d}.png": encoded(index) for index in range(20)}
    return build_world(s3_server, tmp_path_factory.mktemp("faults"), artifact, photos, part_size=4, hasty=True)
