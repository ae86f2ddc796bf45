"""The command `boxcar`: arguments in, one summary or one `error:` line out.

Heavy imports stand inside the commands, so that `boxcar --help` answers at once.
"""

from jobs.cli.group import main
from jobs.cli.looking import schema, status, validate
from jobs.cli.planning import plan
from jobs.cli.running import finish, run, work

for command in (run, plan, work, finish, status, validate, schema):
    main.add_command(command)

__all__ = ["main"]
