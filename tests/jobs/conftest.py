"""The command as a function."""

from __future__ import annotations

import pytest
from click.testing import CliRunner, Result

from jobs.cli import main
from tests.jobs.helpers import Boxcar


@pytest.fixture
def boxcar() -> Boxcar:
    """`boxcar ARGUMENTS...` in this process; `code` is the exit code that it must end with."""

    def call(*arguments: object, code: int = 0) -> Result:
        result = CliRunner().invoke(main, [str(argument) for argument in arguments])
        assert result.exit_code == code, (result.exit_code, result.output, result.exception)
        return result

    return call
