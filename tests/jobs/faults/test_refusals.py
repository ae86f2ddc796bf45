"""Storage that refuses ends the command with exit 5 and one line, and leaves nothing half done."""

from __future__ import annotations

import pytest

from tests.support.faults import disks
from tests.support.faults.refusals import denied, missing_buckets, wrong_credentials
from tests.support.faults.world import World

needs_mounts = pytest.mark.skipif(not disks.can_mount(), reason="no file system may be mounted here")


def test_missing_buckets(world: World) -> None:
    missing_buckets(world, "missing-buckets")


def test_wrong_credentials(world: World) -> None:
    wrong_credentials(world, "wrong-credentials")


def test_denied_by_a_policy(world: World) -> None:
    denied(world, "denied")


@needs_mounts
def test_full_disk(world: World) -> None:
    disks.full(world, "full")


@needs_mounts
def test_read_only_disk(world: World) -> None:
    disks.read_only(world, "read-only")


@pytest.mark.skipif(disks.can_mount(), reason="the test of a full disk says more")
def test_limit_on_the_size_of_files(world: World) -> None:
    disks.small_files_only(world, "small-files")
