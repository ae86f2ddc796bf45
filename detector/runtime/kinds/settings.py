"""The base of every kind's settings."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Strides = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]


class DecodingSettings(BaseModel):
    """Settings of a kind; each has a field `kind` with its name."""

    model_config = ConfigDict(frozen=True, extra="forbid")
