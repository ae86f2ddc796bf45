"""Storage that refuses ends the command with exit 5 and one line, and leaves nothing half done."""

from __future__ import annotations

import pytest

from tests.jobs.faults.checks import assert_ended, assert_said, assert_same, assert_whole_parts
from tests.support.faults import disks
from tests.support.faults.refusals import denied, missing_buckets, wrong_credentials
from tests.support.faults.world import World

needs_mounts = pytest.mark.skipif(not disks.can_mount(), reason="no file system may be mounted here")


def test_missing_buckets(world: World) -> None:
    happened = missing_buckets(world, "missing-buckets")
    assert_ended(happened, {"input": 5, "output": 5})
    for command in ("input", "output"):
        assert_said(happened, command, "fault-nowhere", "the bucket does not exist")
    assert happened.states["input"].digest is None  # no plan of nothing


def test_wrong_credentials(world: World) -> None:
    happened = wrong_credentials(world, "wrong-credentials")
    refused = ("run, wrong AWS_ACCESS_KEY_ID", "run, wrong AWS_SECRET_ACCESS_KEY", "work, wrong secret")
    assert_ended(happened, dict.fromkeys(refused, 5) | {"plan": 0, "resumed": 0})
    for command in refused:
        assert_said(happened, command, "wrong credentials")
    assert happened.states["refused"].parts == {}
    assert_same(world, happened, "end")


def test_denied_by_a_policy(world: World) -> None:
    happened = denied(world, "denied")
    assert_ended(happened, {"ListBucket": 5, "PutObject": 5, "GetObject": 5})
    assert_said(happened, "ListBucket", "access denied", "s3://photos/")
    assert happened.states["ListBucket"].digest is None
    assert_said(happened, "PutObject", "access denied", "s3://boxes/")
    assert_said(happened, "GetObject", "access denied to 10 images")
    assert happened.states["GetObject"].parts == {}  # no records of images that may not be read


@needs_mounts
def test_full_disk(world: World) -> None:
    happened = disks.full(world, "full")
    assert_ended(happened, {"stopped": 5, "resumed": 0})
    assert_said(happened, "stopped", "No space left on device", "/full/mount/run")
    # There was room for a plan and some parts, and nothing half-written is left.
    assert happened.states["stopped"].digest and happened.states["stopped"].parts
    assert happened.facts["hidden"] == []
    assert_whole_parts(world, happened)
    assert_same(world, happened, "end")


@needs_mounts
def test_read_only_disk(world: World) -> None:
    happened = disks.read_only(world, "read-only")
    assert_ended(happened, {"run": 5, "plan": 0, "run with a plan": 5, "resumed": 0})
    for command in ("run", "run with a plan"):
        assert_said(happened, command, "Read-only file system", "/read-only/mount/run")
    assert_same(world, happened, "end")


@pytest.mark.skipif(disks.can_mount(), reason="the test of a full disk says more")
def test_limit_on_the_size_of_files(world: World) -> None:
    happened = disks.small_files_only(world, "small-files")
    assert_ended(happened, {"plan": 0, "stopped": 5, "resumed": 0})
    assert_said(happened, "stopped", "File too large")
    assert_whole_parts(world, happened)
    assert_same(world, happened, "end")
