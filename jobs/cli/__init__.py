"""The command `boxcar`: arguments in, one summary or one `error:` line out.

Heavy imports stand inside the commands, so that `boxcar --help` answers at once.
"""

from jobs.cli.group import main
from jobs.cli.looking import status, validate
from jobs.cli.planning import plan
from jobs.cli.reading import convert, diff, schema
from jobs.cli.report import report
from jobs.cli.running import finish, run, work

for command in (run, plan, work, finish, status, validate, report, convert, diff, schema):
    main.add_command(command)

__all__ = ["main"]
