"""What only a person can say on the model card."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, StringConstraints

from pipelines.config.section import Section

Text = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=4_000)]


class CardSection(Section):
    """Text of the model card. What is not said here, the card says to be not stated; all of it is shown as it is, without markup.

    Attributes:
        intended_use: What the model is for, and who uses it.
        out_of_scope: What it must not be used for.
        owners: Who answers for it, and how to reach them.
        licence: Under which the model may be used, as an SPDX identifier or a name.
        citation: How to cite it.
    """

    intended_use: Text | None = None
    out_of_scope: Text | None = None
    owners: Annotated[tuple[Text, ...], Field(max_length=20)] = ()
    licence: Text | None = None
    citation: Text | None = None
