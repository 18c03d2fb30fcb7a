"""Looks at inputs before and after decoding: how much a request asks for, and which of its inputs are no good."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from pipelines.core.errors import DataError
from serving.failures import RequestFailure, unprocessable
from serving.input_forms import InputForm

if TYPE_CHECKING:
    from pipelines.core.modalities.modality import Modality

_MAX_NAMED = 10


def refuse_too_much(inputs: Sequence[bytes], modality: Modality, form: InputForm, most: int) -> None:
    """Adds up what the inputs state about themselves, without decoding; one that says nothing counts nothing, as it will not decode.

    Raises:
        RequestFailure: 422.
    """
    total, unit = sum(modality.stated_size(data) or 0 for data in inputs), modality.size_limit.unit
    if total > most:
        raise unprocessable(
            f"too_many_{unit}", f"the {form.key} of this request have {total} {unit} together; the limit is {most}.", form.make_smaller
        )


def unusable_inputs(inputs: Sequence[bytes], modality: Modality, form: InputForm) -> RequestFailure:
    """Finds out which inputs of a refused request are to blame, and says it: 422."""
    problems = {index: problem for index, data in enumerate(inputs) if (problem := _problem_of(data, modality))}
    named = "; ".join(f"{form.key}[{index}]: {problem}" for index, problem in list(problems.items())[:_MAX_NAMED])
    more = len(problems) - _MAX_NAMED
    return unprocessable(
        f"bad_{form.noun}",
        f"{len(problems)} of {len(inputs)} {form.key} cannot be used: {named}{f'; and {more} more' if more > 0 else ''}",
        f"{form.repair}; nothing of this request was answered.",
    )


def _problem_of(data: bytes, modality: Modality) -> str | None:
    try:
        modality.to_array(modality.decode(data))
    except DataError as error:
        return error.got
    return None
