"""What a person can say to the automation."""

from __future__ import annotations

from pydantic import AwareDatetime, BaseModel, ConfigDict


class Stop(BaseModel):
    """A person's word that nothing starts by itself until somebody says so.

    Attributes:
        at: When it was said.
        by: Who said it; empty where that is not known.
        why: The reason.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    at: AwareDatetime
    by: str
    why: str


class Snooze(Stop):
    """The same, but it ends by itself.

    Attributes:
        until: From then on it counts no more.
    """

    until: AwareDatetime
