"""`boxcar verify`."""

from __future__ import annotations

import click

from detector.common.text import visible
from jobs.cli.text import print_lines, say
from jobs.errors import IncompleteError, UsageError

# Problems that are printed; the error counts all.
MOST_SHOWN = 50


@click.command()
@click.argument("output")
@click.option("--latest", metavar="URI", help="A latest.json that names this run: check the manifest by its digest.")
@click.option("--sha256", "digest", metavar="HEX", help="SHA-256 of the manifest, as somebody has noted it.")
@click.option("--images", type=click.IntRange(min=0), default=0, help="Also check this many images of INPUT.")
def verify(output: str, latest: str | None, digest: str | None, images: int) -> None:
    """Check a published run against its digests: manifest, plan, parts, verdict and artifact.

    Nothing is written, and INPUT is read only with --images. Ends with exit 4 and the names of what differs. stats/,
    report.html and quality/audit.json are not covered.

    \b
    Example:
      boxcar verify s3://boxes/2024/ --latest s3://boxes/latest.json --images 100
    """
    from jobs.latest import named_digest
    from jobs.storage import open_store
    from jobs.verify import verify as checks

    if latest is not None and digest is not None:
        raise UsageError("--latest and --sha256 both give the manifest's digest; give one of them")
    store = open_store(output)
    if latest is not None:
        digest = named_digest(latest, store)
    say("checking the run")
    count, wrong = 0, []
    for check in checks(store, digest, images):
        count += 1
        if check.problem:
            wrong.append(check)
    if wrong:
        for check in wrong[:MOST_SHOWN]:
            click.echo(f"{visible(check.name)}: {check.problem}")
        raise IncompleteError(
            f"{store.uri}: {len(wrong):,} of {count:,} checks failed, the first of {visible(wrong[0].name)}; put the "
            "published files back, or make the run again in a new OUTPUT"
        )
    anchor = (
        "agrees with its digest"
        if digest
        else "agrees with plan, parts, verdict and artifact; give its own digest, too, with --latest or --sha256"
    )
    print_lines({"verified": f"{count:,} files and images", "manifest": anchor})
