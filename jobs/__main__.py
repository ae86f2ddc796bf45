"""`python -m jobs` is `boxcar`."""

from jobs.cli import main

main(prog_name="boxcar")
