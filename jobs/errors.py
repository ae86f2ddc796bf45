"""The errors that end a command of `boxcar`: one class for each exit code.

Every message says what is wrong, where, and what to do. An image that fails does not end the command: its failure is an
`ItemError`, which becomes a record with its status.
"""

from __future__ import annotations

from typing import ClassVar, Literal


class JobError(Exception):
    """Base of the errors that a command reports in one line, without a traceback."""

    exit_code: ClassVar[int]


class UsageError(JobError):
    """Wrong usage, or OUTPUT holds another plan or artifact."""

    exit_code = 2


class RejectedError(JobError):
    """The run was published as "rejected", or its audit rejects it."""

    exit_code = 3


class IncompleteError(JobError):
    """Parts are missing or damaged, and running again makes them; or the run is not audited."""

    exit_code = 4


class StorageError(JobError):
    """Storage cannot be reached or refuses access, or the machine has no memory or processes left; no single image is
    the cause."""

    exit_code = 5


class ModelError(JobError):
    """The artifact cannot be used."""

    exit_code = 6


class ItemError(Exception):
    """One planned image cannot be read; `status` is its record's status, and `reason` says more, for people."""

    def __init__(self, status: Literal["missing", "forbidden", "changed", "too_large"], reason: str = "") -> None:
        super().__init__(status, reason)
        self.status = status
        self.reason = reason
