from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from monitoring.signals.kolmogorov_smirnov import exact_p_value, largest_gap

values = st.lists(st.integers(0, 4), min_size=1, max_size=6)


def counted(first: list[int], second: list[int]) -> tuple[np.ndarray, np.ndarray]:
    distinct, totals = np.unique(first + second, return_counts=True)
    return np.bincount(np.searchsorted(distinct, second), minlength=len(distinct)), totals


@settings(max_examples=60)
@given(values, values)
def test_it_is_the_share_of_all_splits(first: list[int], second: list[int]) -> None:
    counts, totals = counted(first, second)
    gap = largest_gap(counts, totals)
    pooled = first + second
    gaps = []
    for chosen in combinations(range(len(pooled)), len(second)):
        rest = [pooled[place] for place in range(len(pooled)) if place not in chosen]
        gaps.append(largest_gap(*counted(rest, [pooled[place] for place in chosen])))
    assert exact_p_value(totals, len(second), gap) == pytest.approx(np.mean(np.array(gaps) >= gap))


@pytest.mark.parametrize(("n_reference", "n_window"), [(7, 7), (40, 60), (100, 30), (500, 200)])
@pytest.mark.parametrize("shift", [0.0, 0.5, 2.0])
def test_without_ties_it_is_scipys_down_to_any_depth(n_reference: int, n_window: int, shift: float) -> None:
    rng = np.random.default_rng(n_window)
    first, second = rng.normal(size=n_reference), rng.normal(size=n_window) + shift
    distinct, totals = np.unique(np.concatenate([first, second]), return_counts=True)
    counts = np.bincount(np.searchsorted(distinct, second), minlength=len(distinct))
    gap = largest_gap(counts, totals)
    theirs = stats.ks_2samp(first, second, method="exact")
    assert gap / (n_reference * n_window) == pytest.approx(theirs.statistic)
    assert exact_p_value(totals, n_window, gap) == pytest.approx(theirs.pvalue, rel=1e-9)


def test_it_stays_above_zero() -> None:
    totals = np.array([3_000, 3_000])
    assert 0 < exact_p_value(totals, 3_000, largest_gap(np.array([0, 3_000]), totals)) < 1e-300


@pytest.mark.parametrize("shift", [0.0, 0.06, 0.1, 0.15])
def test_large_samples_are_near_the_exact_value(shift: float, monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(6)
    first, second = rng.normal(size=2_000), rng.normal(size=5_000) + shift
    distinct, totals = np.unique(np.concatenate([first, second]), return_counts=True)
    counts = np.bincount(np.searchsorted(distinct, second), minlength=len(distinct))
    gap = largest_gap(counts, totals)
    approximate = exact_p_value(totals, 5_000, gap)
    monkeypatch.setattr("monitoring.signals.kolmogorov_smirnov.MAX_EXACT", 100_000)
    assert approximate == pytest.approx(exact_p_value(totals, 5_000, gap), rel=0.15)
