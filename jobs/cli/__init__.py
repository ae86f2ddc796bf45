"""The command `boxcar`: arguments in, one summary or one `error:` line out.

Heavy imports stand inside the commands, so that `boxcar --help` answers at once.
"""

from jobs.cli.group import main
from jobs.cli.looking import status, validate
from jobs.cli.planning import plan
from jobs.cli.reading import convert, diff, schema
from jobs.cli.report import report
from jobs.cli.running import finish, run, work
from jobs.cli.submitting import submit
from jobs.cli.tracing import lineage

for command in (run, plan, work, finish, submit, status, validate, report, convert, diff, lineage, schema):
    main.add_command(command)

__all__ = ["main"]
