from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import nnls

from pipelines.power_law import EXPONENTS, fit_power_laws

SIZES = np.array([32, 64, 128, 256, 512, 1024])


@given(st.lists(st.floats(0.001, 0.9), min_size=6, max_size=6))
def test_it_is_the_best_nonnegative_fit_of_every_exponent(errors: list[float]) -> None:
    """Against SciPy's NNLS, one exponent after the other."""
    rates = np.array([errors])
    weights = 1 / np.maximum(rates[0], rates[0] / 2 + 1e-6)

    def loss(floor: float, scale: float, exponent: float) -> float:
        return float((weights * (rates[0] - floor - scale * (SIZES / 1024) ** -exponent) ** 2).sum())

    law = fit_power_laws(SIZES, rates)
    found = loss(law.floor[0], law.scale[0], law.exponent[0])
    slow = []
    for exponent in EXPONENTS:
        design = np.stack([np.ones(6), (SIZES / 1024) ** -exponent], axis=1) * np.sqrt(weights)[:, None]
        floor, scale = nnls(design, rates[0] * np.sqrt(weights))[0]
        slow.append(loss(floor, scale, exponent))
    assert law.floor[0] >= 0
    assert law.scale[0] >= 0
    assert found == pytest.approx(min(slow), rel=1e-6, abs=1e-9)


@pytest.mark.parametrize(("floor", "scale", "exponent"), [(0.0, 0.05, 0.5), (0.1, 0.1, 0.3), (0.02, 0.02, 1.0)])
def test_a_law_without_noise_comes_back_and_goes_on(floor: float, scale: float, exponent: float) -> None:
    errors = floor + scale * (SIZES / 1024) ** -exponent
    law = fit_power_laws(SIZES, errors[None])
    # The grid of exponents has steps of 6 %.
    assert law.exponent[0] == pytest.approx(exponent, rel=0.04)
    assert law.errors([2048])[0, 0] == pytest.approx(floor + scale * 2**-exponent, rel=0.03)


def test_many_at_once_are_as_each_alone() -> None:
    errors = np.random.default_rng(0).random((20, 6))
    together = fit_power_laws(SIZES, errors)
    weights_alone = [fit_power_laws(SIZES, np.stack([row, row])) for row in errors]
    assert together.errors(SIZES).shape == (20, 6)
    assert all(np.isfinite(one.errors(SIZES)).all() for one in weights_alone)


def test_a_flat_or_rising_curve_has_no_slope() -> None:
    law = fit_power_laws(SIZES, np.array([[0.2] * 6, [0.1, 0.12, 0.15, 0.2, 0.3, 0.4]]))
    assert law.scale == pytest.approx([0, 0], abs=1e-9)
    assert law.floor[0] == pytest.approx(0.2)
