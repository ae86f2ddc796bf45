from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from detector.cli import main


@pytest.fixture
def imported(tmp_path: Path) -> Callable[..., Result]:
    """Run `detector import FILE --out FOLDER` with more options; FOLDER is `out` below the test's folder."""

    def run(file: Path, *options: object, out: str = "out") -> Result:
        words = ["import", str(file), "--out", str(tmp_path / out), *map(str, options)]
        return CliRunner().invoke(main, words, catch_exceptions=False)

    return run
