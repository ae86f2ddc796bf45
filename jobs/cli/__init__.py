"""The command `boxcar`: it takes arguments and prints one summary or one `error:` line.

Each command has a file of its name. Heavy imports stand inside the commands, so that `boxcar --help` answers at once.
"""

from jobs.cli import (
    audit,
    convert,
    diff,
    doctor,
    finish,
    lineage,
    plan,
    report,
    run,
    sample,
    schema,
    show,
    status,
    submit,
    validate,
    verify,
    work,
)  # fmt: skip
from jobs.cli.group import main

for command in (
    run.run, plan.plan, work.work, finish.finish, submit.submit, status.status, validate.validate, verify.verify,
    report.report, convert.convert, sample.sample, audit.audit, diff.diff, show.show, lineage.lineage, doctor.doctor,
    schema.schema,
):  # fmt: skip
    main.add_command(command)

__all__ = ["main"]
