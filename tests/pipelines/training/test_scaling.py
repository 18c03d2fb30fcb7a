from __future__ import annotations

import numpy as np
import pytest

from pipelines.core.errors import DataError
from pipelines.training.scaling import refuse_not_finite, shrunk_scaling


def test_each_feature_is_divided_by_the_root_of_its_variance_and_the_mean_variance() -> None:
    features = np.random.default_rng(0).normal(3, [1, 2, 0.1], (50, 3))
    scaling = shrunk_scaling(features)
    np.testing.assert_allclose(scaling.mean, features.mean(axis=0))
    np.testing.assert_allclose(scaling.scale, np.sqrt(features.var(axis=0) + features.var(axis=0).mean()))


def test_a_feature_that_hardly_varies_is_not_blown_up() -> None:
    features = np.random.default_rng(1).normal(size=(20, 4))
    features[:, 2] = 0
    features[3, 2] = 1e-4
    held_out = np.array([[0.0, 0.0, 1.0, 0.0]])
    assert np.abs(shrunk_scaling(features).apply(held_out)).max() < 2


@pytest.mark.parametrize("constant", [0.0, 1e-3, 7.0, 1e6])
def test_constant_features_become_zeros(constant: float) -> None:
    features = np.full((5, 3), constant, dtype=np.float32)
    scaled = shrunk_scaling(features).apply(features)
    assert scaled.dtype == np.float32
    np.testing.assert_allclose(scaled, 0, atol=1e-6)


def test_a_linear_map_of_scaled_features_is_one_of_raw_features() -> None:
    rng = np.random.default_rng(2)
    features, weight, bias = rng.normal(5, 3, (20, 4)), rng.normal(size=(3, 4)), rng.normal(size=3)
    scaling = shrunk_scaling(features)
    unscaled, shifted = scaling.fold_into(weight, bias)
    np.testing.assert_allclose(features @ unscaled.T + shifted, scaling.apply(features, np.float64) @ weight.T + bias, atol=1e-9)


@pytest.mark.parametrize("order", ["C", "F"])
def test_it_is_to_the_bit_what_numpy_says_of_all_rows_at_once(order: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.training.scaling._N_ROWS_AT_ONCE", 100)
    features = np.asarray(np.random.default_rng(3).normal(5, 3, (1_030, 7)), dtype=np.float32, order=order)  # type: ignore[call-overload]
    before, precise = features.copy(), features.astype(np.float64)
    scaling = shrunk_scaling(features)
    assert np.array_equal(scaling.mean, precise.mean(axis=0))
    assert np.array_equal(scaling.scale, np.sqrt(precise.var(axis=0) + float(precise.var(axis=0).mean())))
    for dtype in (np.float32, np.float64):
        scaled = scaling.apply(features, dtype)
        assert np.array_equal(scaled, ((precise - scaling.mean) / scaling.scale).astype(dtype))
        assert scaled.flags["F_CONTIGUOUS"] == (order == "F")
    assert np.array_equal(features, before)


def test_features_that_are_not_finite_are_counted() -> None:
    features = np.zeros((6, 2))
    refuse_not_finite(features)
    features[2, 0] = features[2, 1] = np.nan
    features[4, 1] = -np.inf
    with pytest.raises(DataError, match="features that are not finite, of 2 in 6 samples"):
        shrunk_scaling(features)
