"""Has the error rate risen? A sequential test over all labels that were fed back, valid whenever it is looked at.

Letters for shapes: t labels in the order they came, a alternatives.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from itertools import pairwise
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from monitoring.alarm_budget import RESERVE, YEAR
from pipelines.intervals import one_sided_bounds

# The bundle's own error rate is not known: up to this bound of its reference an error rate is taken as unchanged.
BOUND_LEVEL = 0.99
# Error rates that are bet on: this share of the way from the bound to 1.
_ALTERNATIVES = (0.03, 0.1, 0.25, 0.5)
# Evidence is not piled up above this, so that a rate that came down is seen to have come down. (Less evidence is always valid.) Of a rate
# that stays risen, a stretch of right answers hides the alarm at about one look in as many.
_MOST_EVIDENCE = 1_000.0


class ErrorRate(BaseModel):
    """The sequential test of a bundle's error rate.

    Attributes:
        n_labelled, n_errors: Of all labels of the bundle that were looked at, not of the window only.
        allowed_error_frac: An error rate up to this counts as unchanged: 99 % upper bound of the reference's.
        evidence: 1 and more is an alarm. On an unchanged error rate it ever gets there with a chance of at most `alarm_budget`.
        alarm_budget: False alarms that were allowed for the time that the labels span.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    n_labelled: Annotated[int, Field(ge=0)]
    n_errors: Annotated[int, Field(ge=0)]
    allowed_error_frac: Annotated[float, Field(gt=0, le=1)]
    evidence: Annotated[float, Field(ge=0)]
    alarm_budget: Annotated[float, Field(ge=0)]

    @property
    def risen(self) -> bool:
        """Whether the error rate is called risen."""
        return self.evidence >= 1


def error_rate(
    is_error: NDArray[np.bool_], times: Sequence[datetime], n_reference_errors: int, n_reference: int, false_alarms_per_year: float
) -> ErrorRate:
    """Tests that the error rate is no higher than it was on the reference.

    Args:
        is_error: [t], of each fed back label, in the order that they came.
        times: t, when each came; aware.
        n_reference_errors: Of the reference.
        n_reference: Its samples.
        false_alarms_per_year: Above 0; for this test alone.
    """
    bound = one_sided_bounds(n_reference_errors, n_reference, BOUND_LEVEL).high
    weights = alarm_weights(times, false_alarms_per_year)
    path = evidence_path(is_error, weights, bound)
    return ErrorRate(
        n_labelled=len(is_error),
        n_errors=int(is_error.sum()),
        allowed_error_frac=bound,
        evidence=float(path[-1]) if len(path) else 0.0,
        alarm_budget=float(weights.sum()),
    )


def alarm_weights(times: Sequence[datetime], false_alarms_per_year: float) -> NDArray[np.float64]:
    """[t], false alarms that each label may add: those of the time since the label before, of at most a week; a bundle's first has a week.

    They look at the times alone, never at the labels.
    """
    gaps = [RESERVE, *(min(RESERVE, max(timedelta(0), now - before)) for before, now in pairwise(times))][: len(times)]
    return np.array([gap / YEAR for gap in gaps]) * false_alarms_per_year


def evidence_path(is_error: NDArray[np.bool_], weights: NDArray[np.float64], allowed_error_frac: float) -> NDArray[np.float64]:
    """Evidence after each label: bets on a higher error rate, a new one with every label, each with its weight as the stake.

    For an error rate up to the allowed one each bet's likelihood ratio has a mean of at most 1 whatever came before, so the sum of all
    bets, those not yet placed at their stakes, is a supermartingale that starts at the sum of the stakes: it reaches 1 with at most that
    chance, at any time one looks (Ville's inequality; the e-detectors of Shin, Ramdas and Rinaldo 2023,
    https://arxiv.org/abs/2203.03532, with stakes that sum to an error rate instead of stakes of 1; the bets are those of Waudby-Smith and
    Ramdas 2024, https://arxiv.org/abs/2010.09686, mixed over fixed alternatives). New bets find a change that comes late.

    Args:
        is_error: [..., t].
        weights: [t], stakes.
        allowed_error_frac: In (0, 1].

    Returns:
        [..., t], at most 1,000.
    """
    path = np.zeros(is_error.shape)
    if allowed_error_frac >= 1:
        return path
    alternatives = allowed_error_frac + (1 - allowed_error_frac) * np.array(_ALTERNATIVES)
    on_error, on_success = alternatives / allowed_error_frac, (1 - alternatives) / (1 - allowed_error_frac)
    bets = np.zeros((*is_error.shape[:-1], len(alternatives)))
    for place, weight in enumerate(weights.tolist()):
        bets = (bets + weight / len(alternatives)) * np.where(is_error[..., place, None], on_error, on_success)
        total = bets.sum(axis=-1)
        bets *= np.minimum(1.0, _MOST_EVIDENCE / np.maximum(total, _MOST_EVIDENCE))[..., None]
        path[..., place] = np.minimum(total, _MOST_EVIDENCE)
    return path
