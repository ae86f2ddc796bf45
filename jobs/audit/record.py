"""quality/audit.json of a published run."""

from __future__ import annotations

from jobs.formats import Audit, parse
from jobs.storage import Store

AUDIT = "quality/audit.json"


def published_audit(output: Store, manifest_sha256: str) -> Audit | None:
    """The audit of the run whose manifest has this digest; None where there is none, or one of another manifest.

    Raises UsageError when the file is damaged.
    """
    data = output.read(AUDIT)
    if data is None:
        return None
    again = f"judge again with: boxcar audit judge {output.uri} VERDICTS"
    audit = parse(Audit, data, output.uri + AUDIT, "an audit", again)
    return audit if audit.manifest_sha256 == manifest_sha256 else None
