from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import linalg

from pipelines.core.errors import DataError
from pipelines.training.adaptation.coral import coral_alignment


def draw(n: int, d: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.asarray(rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) * rng.uniform(0.1, 30, size=d) + rng.normal(size=d) * 10)


@pytest.mark.parametrize("regularisation", [1e-9, 1.0, 5.0])
def test_against_scipy(regularisation: float) -> None:
    source, target = draw(80, 6, 1), draw(50, 6, 2)
    alignment = coral_alignment(source, target, regularisation)
    standard = [(values - values.mean(axis=0)) / values.std(axis=0, ddof=1) for values in (source, target)]
    ridged = [np.cov(values.T) + regularisation * np.eye(6) for values in standard]
    matrix = linalg.inv(linalg.sqrtm(ridged[0])).real @ linalg.sqrtm(ridged[1]).real
    expected = standard[0] @ matrix * target.std(axis=0, ddof=1) + target.mean(axis=0)
    np.testing.assert_allclose(alignment.apply(source), expected, rtol=1e-4, atol=1e-4)


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000), st.integers(1, 8))
def test_the_aligned_source_has_the_mean_and_covariance_of_the_target(seed: int, d: int) -> None:
    source, target = draw(60, d, seed), draw(40, d, seed + 1)
    aligned = coral_alignment(source, target, 1e-10).apply(source).astype(np.float64)
    np.testing.assert_allclose(aligned.mean(axis=0), target.mean(axis=0), rtol=1e-3, atol=1e-3)
    # In units of the target's spreads, since float32 rounds.
    scale = np.outer(target.std(axis=0, ddof=1), target.std(axis=0, ddof=1))
    np.testing.assert_allclose(np.atleast_2d(np.cov(aligned.T)) / scale, np.atleast_2d(np.cov(target.T)) / scale, atol=5e-3)


def test_the_regularised_covariances_are_mapped_exactly() -> None:
    source, target = draw(80, 5, 3), draw(70, 5, 4)
    matrix = coral_alignment(source, target, 1.0).matrix
    correlations = [np.corrcoef(values.T) + np.eye(5) for values in (source, target)]
    np.testing.assert_allclose(matrix.T @ correlations[0] @ matrix, correlations[1], rtol=1e-9, atol=1e-9)


def test_the_same_domain_stays_as_it_is() -> None:
    source = draw(60, 5, 5)
    np.testing.assert_allclose(coral_alignment(source, source, 1.0).apply(source), source, rtol=1e-5, atol=1e-4)


def test_a_unit_that_is_dead_in_one_domain() -> None:
    source, target = draw(60, 4, 6), draw(60, 4, 7)
    source[:, 1], target[:, 2] = 0.0, 3.0
    aligned = coral_alignment(source, target, 1.0).apply(source)
    assert np.isfinite(aligned).all()
    np.testing.assert_allclose(aligned.mean(axis=0), target.mean(axis=0), rtol=1e-3, atol=1e-3)


def test_fewer_samples_than_features() -> None:
    assert np.isfinite(coral_alignment(draw(10, 30, 8), draw(12, 30, 9), 1.0).apply(draw(10, 30, 8))).all()


def test_features_that_are_not_finite() -> None:
    source = draw(20, 3, 1)
    source[4, 1] = np.nan
    with pytest.raises(DataError, match=r"features that are not finite, of 1 samples\. Allowed: finite features"):
        coral_alignment(source, draw(20, 3, 2), 1.0)
