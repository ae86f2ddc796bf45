"""The record of a published run whose boxes were labels: `fetch` writes it, and `model.json` keeps it."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field


class LabelRun(BaseModel):
    """A published run of the batch job, whose boxes were labels in the training."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    uri: str = Field(description="the run's OUTPUT, as the settings named it")
    run: str = Field(description="the run's name")
    manifest_sha256: str = Field(description="of the run's manifest.json")
    artifact: str = Field(description="the name of the detector that made the run")
    artifact_sha256: str = Field(description="of that detector's model.json")
    images: int = Field(ge=0, description="images whose labels the run gave, or voted on")
    boxes: int = Field(ge=0, description="objects in these images that nobody has corrected")
    corrected: int = Field(ge=0, description="images whose labels people corrected")
    least_scores: dict[str, float] = Field(description="of a box that became an object, by label")
