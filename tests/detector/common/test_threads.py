from __future__ import annotations

import os
import subprocess
import sys

import pytest

from detector.common.threads import SPINS, sleep_soon

NAMES = ("GOMP_SPINCOUNT", "OMP_WAIT_POLICY")


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    """An environment that does not say how threads wait."""
    for name in NAMES:
        monkeypatch.setenv(name, "")
        monkeypatch.delenv(name)


def test_waiting_threads_sleep_soon() -> None:
    sleep_soon()
    assert os.environ["GOMP_SPINCOUNT"] == SPINS and "OMP_WAIT_POLICY" not in os.environ


@pytest.mark.parametrize("name", NAMES)
def test_what_the_environment_says_stays(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "7")
    sleep_soon()
    assert {name: os.environ.get(name) for name in NAMES} == {**dict.fromkeys(NAMES), name: "7"}


def test_the_commands_do_not_import_torch_before_the_stage_does() -> None:
    """libgomp reads the environment once, when torch loads it."""
    code = "import sys, detector.cli; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
