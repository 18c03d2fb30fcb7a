"""The gate `latency_p95_ms`: nearly all single requests are answered fast enough, with confidence."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from pipelines.config import LatencyGate
from pipelines.gates.decision import Decision, Outcome, percent

_FRACTION = 0.95


def latency_p95_ms(rule: LatencyGate, milliseconds: NDArray[np.float64], *, n_warm_up: int, failure: str | None = None) -> Decision:
    """Null hypothesis: the 95th percentile of the time to an answer is above the limit.

    Passes where the upper bound of the percentile at `rule.level` is the limit or less. The bound is an order statistic, so it holds for
    any distribution of the times; it takes them for independent draws of one distribution, which requests in a row are only roughly.

    Args:
        rule: Of the conf file.
        milliseconds: [n], of each request that was measured.
        n_warm_up: Requests before them that were not.
        failure: What a request got that was not answered; refuses whatever the others took.
    """
    if failure is not None:
        return _decision(rule, milliseconds, "refuse", f"a request was not answered: {failure}", {"n_warm_up": n_warm_up})
    bound = quantile_upper_bound(milliseconds, _FRACTION, rule.level)
    if bound is None:
        needed = requests_for_a_bound(rule.level)
        why = (
            f"{len(milliseconds)} requests are too few: below {needed} not even the slowest bounds the 95th percentile at"
            f" {percent(rule.level)} confidence. Raise n_requests."
        )
        return _decision(rule, milliseconds, "insufficient_data", why, {"n_warm_up": n_warm_up})
    outcome: Outcome = "pass" if bound <= rule.limit_ms else "refuse"
    why = (
        f"{percent(_FRACTION)} of {len(milliseconds)} single requests took at most {_percentile(milliseconds):.1f} ms; at"
        f" {percent(rule.level)} confidence the 95th percentile is at most {bound:.1f} ms, and {rule.limit_ms:g} ms are allowed."
    )
    middle, longest = float(np.median(milliseconds)), float(milliseconds.max())
    detail: dict[str, JsonValue] = {"n_warm_up": n_warm_up, "median_ms": middle, "max_ms": longest}
    return _decision(rule, milliseconds, outcome, why, detail, bound)


def quantile_upper_bound(values: NDArray[np.float64], fraction: float, level: float) -> float | None:
    """The one-sided upper confidence bound of a quantile, for any distribution.

    The k-th smallest of n values is the true quantile or more with probability P(Binomial(n, fraction) < k) at least; the smallest k for
    which that is `level` is taken (David and Nagaraja 2003, Order Statistics, section 7.1; Meeker, Hahn and Escobar 2017, Statistical
    Intervals, section 5.2).

    Args:
        values: [n], in any order.
        fraction: Of the quantile, in (0, 1).
        level: In (0, 1).

    Returns:
        None where even the largest of so few values is no bound at that level.
    """
    from scipy.special import bdtr

    n = len(values)
    enough = np.flatnonzero(bdtr(np.arange(n, dtype=np.float64), n, fraction) >= level) if n else np.array([])
    return float(np.sort(values)[enough[0]]) if len(enough) else None


def requests_for_a_bound(level: float) -> int:
    """Requests from which the slowest one bounds the 95th percentile at `level`."""
    return int(np.ceil(np.log(1 - level) / np.log(_FRACTION)))


def _percentile(milliseconds: NDArray[np.float64]) -> float:
    return float(np.quantile(milliseconds, _FRACTION, method="inverted_cdf"))


def _p_value(rule: LatencyGate, milliseconds: NDArray[np.float64]) -> float:
    from scipy.special import bdtrc

    # Were the percentile above the limit, fewer than 95 % of all requests would be within it.
    return float(bdtrc(int((milliseconds <= rule.limit_ms).sum()) - 1, len(milliseconds), _FRACTION))


def _decision(
    rule: LatencyGate,
    milliseconds: NDArray[np.float64],
    outcome: Outcome,
    reason: str,
    detail: dict[str, JsonValue],
    bound: float | None = None,
) -> Decision:
    return Decision(
        gate=rule.kind,
        condition=f"95th percentile of the time to an answer of at most {rule.limit_ms:g} ms",
        outcome=outcome,
        statistic=None if bound is None else _percentile(milliseconds),
        high=bound,
        level=rule.level,
        p_value=None if bound is None else _p_value(rule, milliseconds),
        n=len(milliseconds),
        threshold=rule.limit_ms,
        reason=reason,
        detail={"test": "order_statistic_upper"} | detail,
    )
