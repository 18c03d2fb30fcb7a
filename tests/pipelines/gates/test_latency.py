"""The gate latency_p95_ms: its bound holds for any distribution, and what cannot be shown is not said."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from pipelines.config import LatencyGate
from pipelines.gates.latency import latency_p95_ms, quantile_upper_bound, requests_for_a_bound

N_SIMULATED = 20_000


def gate(limit_ms: float = 50, level: float = 0.95) -> LatencyGate:
    return LatencyGate(kind="latency_p95_ms", limit_ms=limit_ms, level=level)


def rank_by_summing(n: int, fraction: float, level: float) -> int | None:
    """The slow way: the probabilities of all counts of values below the quantile, one by one."""
    below = 0.0
    for k in range(1, n + 1):
        below += math.comb(n, k - 1) * fraction ** (k - 1) * (1 - fraction) ** (n - k + 1)
        if below >= level:
            return k
    return None


@pytest.mark.parametrize(("n", "level"), list(itertools.product((1, 20, 58, 59, 60, 89, 90, 200, 500), (0.9, 0.95, 0.99))))
def test_the_bound_is_the_rank_that_the_binomial_says(n: int, level: float) -> None:
    values = np.random.default_rng(n).permutation(np.arange(1.0, n + 1))
    assert quantile_upper_bound(values, 0.95, level) == rank_by_summing(n, 0.95, level)


def test_too_few_requests_have_no_bound() -> None:
    assert requests_for_a_bound(0.95) == 59
    assert quantile_upper_bound(np.ones(58), 0.95, 0.95) is None
    assert quantile_upper_bound(np.ones(59), 0.95, 0.95) == 1
    assert quantile_upper_bound(np.array([]), 0.95, 0.95) is None
    decision = latency_p95_ms(gate(level=0.99), np.ones(60), n_warm_up=5)
    assert (decision.outcome, decision.n, decision.high) == ("insufficient_data", 60, None)
    assert "60 requests are too few: below 90" in decision.reason


@pytest.mark.parametrize("distribution", [stats.expon(), stats.lognorm(1.5), stats.uniform(), stats.pareto(1.1), stats.randint(0, 4)])
@pytest.mark.parametrize("n", [60, 200])
def test_a_percentile_at_the_limit_passes_in_at_most_5_percent(distribution: object, n: int) -> None:
    """At the border: the true 95th percentile is just above the limit. Binomial bound on the simulated share, over many draws."""
    values = distribution.rvs((N_SIMULATED, n), random_state=np.random.default_rng(7))  # type: ignore[attr-defined]
    limit = np.nextafter(distribution.ppf(0.95), -np.inf)  # type: ignore[attr-defined]
    rank = rank_by_summing(n, 0.95, 0.95)
    assert rank is not None
    passed = int((np.sort(values, axis=1)[:, rank - 1] <= limit).sum())
    assert passed <= stats.binom.ppf(1 - 1e-6, N_SIMULATED, 0.05)


def test_the_bound_is_no_wider_than_it_must_be() -> None:
    """A continuous distribution at the border passes nearly as often as stated, and a fast enough endpoint nearly always."""
    values = np.random.default_rng(1).exponential(size=(N_SIMULATED, 200))
    rank = rank_by_summing(200, 0.95, 0.95)
    assert rank is not None
    bounds = np.sort(values, axis=1)[:, rank - 1]
    assert (bounds <= stats.expon.ppf(0.95)).mean() > 0.02
    assert (bounds <= stats.expon.ppf(0.99)).mean() > 0.9


@given(st.lists(st.floats(0.01, 1_000), min_size=59, max_size=120), st.floats(0.01, 1_000), st.sampled_from([0.9, 0.95]))
def test_bound_and_p_value_never_contradict_each_other(times: list[float], limit_ms: float, level: float) -> None:
    decision = latency_p95_ms(gate(limit_ms, level), np.array(times), n_warm_up=0)
    assert decision.p_value is not None
    assert decision.high is not None
    assert decision.statistic is not None
    assert decision.statistic <= decision.high
    assert (decision.outcome == "pass") == (decision.high <= limit_ms) == (decision.p_value <= 1 - level)


def test_what_a_decision_says() -> None:
    times = np.concatenate([np.full(190, 10.0), np.full(10, 45.0)])
    decision = latency_p95_ms(gate(50), times, n_warm_up=20)
    assert (decision.outcome, decision.statistic, decision.high, decision.n, decision.threshold) == ("pass", 10.0, 45.0, 200, 50)
    assert decision.detail == {"test": "order_statistic_upper", "n_warm_up": 20, "median_ms": 10.0, "max_ms": 45.0}
    assert "95 % of 200 single requests took at most 10.0 ms; at 95 % confidence the 95th percentile is at most 45.0 ms" in decision.reason
    slow = latency_p95_ms(gate(40), times, n_warm_up=20)
    assert slow.outcome == "refuse", "the percentile that was seen is below the limit, the true one is not shown to be"


def test_a_request_that_failed_refuses_whatever_the_others_took() -> None:
    decision = latency_p95_ms(gate(), np.ones(150), n_warm_up=20, failure="503 overloaded: too many requests wait.")
    assert (decision.outcome, decision.high, decision.n) == ("refuse", None, 150)
    assert "a request was not answered: 503 overloaded" in decision.reason
