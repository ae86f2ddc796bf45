"""Assertions that several tests of faults make."""

from __future__ import annotations

from tests.support.faults.runs import Happened
from tests.support.faults.world import World


def assert_ended(happened: Happened, codes: dict[str, int]) -> None:
    """The commands ended with these exit codes, without a traceback, and each failure said one line."""
    assert happened.codes == codes, happened.said
    assert all(ended.tidy for ended in happened.commands.values()), happened.said


def assert_said(happened: Happened, command: str, *words: str) -> None:
    """The one line of error of a command contains the words."""
    (line,) = happened.commands[command].errors
    assert all(word in line for word in words), line


def assert_same(world: World, happened: Happened, *names: str, planned_once: bool = True) -> None:
    """These states are published, and equal those of the run that nothing happened to, byte for byte.

    planned_once: the manifest must also have the plan's time, not only its digest.
    """
    for name in names:
        assert happened.states[name].published, name
        assert happened.states[name].planned_once or not planned_once, name
        assert happened.states[name] == world.undisturbed, name


def assert_whole_parts(world: World, happened: Happened) -> None:
    """At no time did a folder of records hold anything but whole parts."""
    assert [name for name, state in happened.states.items() if not state.whole(world.undisturbed)] == []
