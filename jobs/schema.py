"""The JSON Schema of every file in an OUTPUT, of samples and verdicts, for programs that read them without us."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import models_json_schema

from jobs.formats import (
    Audit,
    FileModel,
    Latest,
    Manifest,
    PartStats,
    Plan,
    PlannedImage,
    Record,
    RunProfile,
    Sample,
    Validation,
    Verdicts,
)

# The kinds of files and lines; the schema defines what they contain as well.
FILES: tuple[type[FileModel], ...] = (
    Record, Manifest, Validation, RunProfile, Latest, Plan, PlannedImage, PartStats, Sample, Verdicts, Audit,
)  # fmt: skip


def json_schema() -> dict[str, Any]:
    """One document, draft 2020-12, whose `$defs` holds a definition for each kind of line or file.

    A value is valid if it is of one of these kinds. To check one kind, refer to its definition: `#/$defs/Record`. The
    schema is for readers: a later boxcar may add properties within a schema version, so additional ones are allowed.
    """
    _, schema = models_json_schema([(model, "serialization") for model in FILES], by_alias=True)
    for definition in schema["$defs"].values():
        del definition["additionalProperties"]
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Boxcar",
        "description": "A line of boxes/*.jsonl (Record) or plan/*.jsonl (PlannedImage), or one of the files "
        "manifest.json, quality/validation.json (Validation), quality/profile.json (RunProfile), latest.json, "
        "plan.json, stats/*.json (PartStats), "
        "sample.json (Sample), verdicts-*.json (Verdicts), quality/audit.json (Audit). "
        "Ignore properties that are not named here: a later Boxcar may add some without a new schema number.",
        "anyOf": [{"$ref": f"#/$defs/{model.__name__}"} for model in FILES],
        "$defs": schema["$defs"],
    }
