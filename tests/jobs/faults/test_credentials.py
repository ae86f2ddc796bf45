"""Credentials that expire in mid-run end the command with one line, or are renewed without a trace."""

from __future__ import annotations

from tests.jobs.faults.checks import assert_ended, assert_said, assert_same, assert_whole_parts
from tests.support.faults.credentials import expired, renewed
from tests.support.faults.world import World


def test_a_token_expires(world: World) -> None:
    happened = expired(world, "expired", ["400 ExpiredToken"])
    stopped, resumed = (f"{what}, 400 ExpiredToken" for what in ("stopped", "resumed"))
    assert_ended(happened, {stopped: 5, resumed: 0})
    assert_said(happened, stopped, "s3://fault-", "the credentials have expired; renew them and run again")
    assert happened.states[stopped].parts  # what was made before stays
    assert_whole_parts(world, happened)
    assert_same(world, happened, resumed)


def test_credentials_that_renew_themselves(world: World) -> None:
    happened = renewed(world, "renewed", seconds=8)
    assert_ended(happened, {"run": 0})
    assert happened.facts["tokens"] > 1 and not happened.facts["refused"]
    assert_same(world, happened, "end")
