"""`boxcar doctor`."""

from __future__ import annotations

from functools import partial

import click

from jobs.cli.options import access_options, model_option
from jobs.errors import StorageError


@click.command()
@click.argument("source", metavar="INPUT")
@click.argument("output")
@model_option
@access_options
def doctor(source: str, output: str, model: str | None, request_payer: bool, no_sign_request: bool) -> None:
    """Try within seconds what a run needs: credentials, region, listing, reading an image, writing, and the artifact.

    A small file is written to OUTPUT and removed again. Each line begins with ok, note (no run fails for it), fail
    (with what to do) or skip. Exit code 5 when a check fails.

    \b
    Example:
      boxcar doctor s3://photos/2024/ s3://boxes/2024/
    """
    from jobs.doctor import Doctor
    from jobs.storage import open_store

    access = {"request_payer": request_payer, "no_sign_request": no_sign_request}
    failed = []
    for finding in Doctor(partial(open_store, source, **access), partial(open_store, output), model).findings():
        click.echo(f"{finding.verdict:<4}  {finding.check:<17}  {finding.text}")
        failed += [finding.check] * (finding.verdict == "fail")
    if failed:
        raise StorageError(f"{', '.join(failed)}: a run would fail here; the lines above say what to do")
