"""What a signal says about a window."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat

Family = Literal["embedding", "softmax", "input"]


class SignalResult(BaseModel):
    """One test of a window against the reference.

    Attributes:
        name: For example `embedding`, `confidence`, `brightness`.
        family: The window's level is divided equally over the families, and by Holm's method within one.
        statistic: Of the test that `detail` names; larger means further apart.
        p_value: Chance of a statistic at least as large if nothing had changed.
        threshold: The signal drifted if and only if `p_value <= threshold`.
        n_reference, n_window: Samples that were compared.
        detail: The method and its settings.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    family: Family
    statistic: FiniteFloat
    p_value: Annotated[float, Field(gt=0, le=1)]
    threshold: Annotated[float, Field(gt=0, lt=1)]
    n_reference: Annotated[int, Field(ge=1)]
    n_window: Annotated[int, Field(ge=1)]
    drifted: bool
    detail: str
