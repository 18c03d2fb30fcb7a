from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from monitoring.power import USEFUL_SHIFT, n_requests_needed
from monitoring.signals.distribution import kolmogorov_smirnov_test
from monitoring.signals.run import N_FAMILIES

N_STATISTICS = 6


@pytest.mark.parametrize("level", [0.01, 1e-4])
def test_at_the_number_it_names_the_power_is_useful(level: float) -> None:
    n_needed = n_requests_needed(level, 500, N_STATISTICS)
    assert n_needed is not None
    rng = np.random.default_rng(0)
    shift = 2 * stats.norm.ppf((1 + USEFUL_SHIFT) / 2)  # the distribution functions of two normals are 0.3 apart
    threshold = level / N_FAMILIES / N_STATISTICS
    found = [kolmogorov_smirnov_test(rng.normal(size=500), rng.normal(size=n_needed) + shift).p_value <= threshold for _ in range(100)]
    assert np.mean(found) >= 0.8
    third = [kolmogorov_smirnov_test(rng.normal(size=500), rng.normal(size=n_needed // 3) + shift).p_value <= threshold for _ in range(60)]
    assert np.mean(third) < 0.6


def test_stricter_levels_and_smaller_references_need_more() -> None:
    by_level = [n_requests_needed(level, 500, N_STATISTICS) for level in (0.05, 0.01, 1e-3, 2e-5)]
    assert by_level == sorted(by_level, key=lambda n: n or 0)
    assert (n_requests_needed(0.01, 200, N_STATISTICS) or 0) > (n_requests_needed(0.01, 2_000, N_STATISTICS) or 0)


def test_too_small_a_reference_is_never_enough() -> None:
    assert n_requests_needed(0.01, 50, N_STATISTICS) is None


def test_more_statistics_share_the_level_and_need_more() -> None:
    assert (n_requests_needed(0.01, 500, 9) or 0) > (n_requests_needed(0.01, 500, 6) or 0)
