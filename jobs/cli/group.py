"""The command group `boxcar`, which turns errors and signals into one line and an exit code."""

from __future__ import annotations

import os
import sys
from typing import Any

import click

from jobs.errors import JobError
from jobs.stopping import EXIT_SIGINT, EXIT_SIGTERM, StopSignal, stopped_by_sigterm


class Boxcar(click.Group):
    """Turns errors that people can act on into one line and an exit code."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run a command, and handle its errors."""
        try:
            with stopped_by_sigterm():
                return super().invoke(ctx)
        except JobError as error:
            click.echo(f"error: {error}", err=True)
            ctx.exit(error.exit_code)
        except StopSignal:
            _leave("stopped by SIGTERM", EXIT_SIGTERM)
        except KeyboardInterrupt:
            _leave("interrupted", EXIT_SIGINT)


def _leave(reason: str, code: int) -> None:
    """End the process at once: threads may hang in downloads for minutes, and their work is not needed any more."""
    click.echo(f"{reason}; run the same command again to resume", err=True)
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


@click.group(cls=Boxcar, context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Run a detector over the images of a bucket or a folder, and publish box manifests.

    INPUT and OUTPUT are s3://bucket/prefix or a folder; OUTPUT belongs to one run. The standard AWS settings apply
    (AWS_ENDPOINT_URL, profiles, roles). Links to folders are not followed.

    Exit codes: 0 published and valid, 1 a bug, 2 wrong usage or another plan in OUTPUT, 3 rejected by a rule or an
    audit, 4 parts are missing (run again) or there is no audit, 5 storage or permission, 6 the artifact cannot be
    used, 130 and 143 stopped by Ctrl-C or SIGTERM (run again), 141 standard output cannot be written (run again).
    """
