"""What every section of the configuration shares: frozen, no unknown keys. And types of values that several of them have."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Fraction = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
CommitId = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]


class Section(BaseModel):
    """A mapping of the conf file."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
