from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import log_loss as reference_log_loss

from pipelines.core.errors import DataError
from pipelines.core.heads import softmax
from pipelines.training.validation import measure


def some_logits(n: int, k: int, seed: int, scale: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, k, n)
    return (rng.normal(size=(n, k)) * scale + np.eye(k)[targets] * scale).astype(np.float32), targets


def best_on_a_grid(loss_at: object) -> float:
    return min(loss_at(temperature) for temperature in np.geomspace(0.05, 20, 601))  # type: ignore[operator]


def test_one_label_equals_the_best_of_a_grid_of_temperatures() -> None:
    logits, targets = some_logits(60, 4, seed=0)
    result = measure(logits, targets, "one")
    expected = best_on_a_grid(lambda t: reference_log_loss(targets, softmax(logits, t), labels=range(4)))
    assert result.log_loss == pytest.approx(expected, abs=1e-5)
    assert result.log_loss < reference_log_loss(targets, softmax(logits), labels=range(4))
    assert result.accuracy == (logits.argmax(1) == targets).mean()


def test_many_labels_equal_the_best_of_a_grid_of_temperatures() -> None:
    rng = np.random.default_rng(1)
    targets = (rng.random((50, 3)) < 0.4).astype(np.float32)
    logits = ((targets * 2 - 1) * 2 + rng.normal(size=(50, 3)) * 4).astype(np.float32)

    def loss_at(temperature: float) -> float:
        probabilities = 1 / (1 + np.exp(-logits.astype(float) / temperature))
        return float(np.mean([reference_log_loss(targets[:, label], probabilities[:, label]) for label in range(3)]))

    result = measure(logits, targets, "many")
    assert result.log_loss == pytest.approx(best_on_a_grid(loss_at), abs=1e-5)
    assert result.accuracy == np.mean([all((row > 0) == (truth > 0)) for row, truth in zip(logits, targets, strict=True)])


@given(st.integers(1, 12), st.integers(2, 5), st.integers(0, 999), st.sampled_from([1e-3, 1.0, 50.0, 1e30]))
def test_the_mean_is_of_the_losses_and_scale_changes_little(n: int, k: int, seed: int, scale: float) -> None:
    logits, targets = some_logits(n, k, seed, scale)
    result = measure(logits, targets, "one")
    assert result.losses.shape == result.correct.shape == (n,)
    assert np.isfinite(result.losses).all()
    assert result.log_loss == pytest.approx(result.losses.mean())


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("labels_per_sample", ["one", "many"])
def test_logits_that_are_not_finite_are_infinitely_bad(bad: float, labels_per_sample: str) -> None:
    logits = np.array([[bad, 0.0], [3.0, -1.0]], dtype=np.float32)
    targets = np.array([0, 0]) if labels_per_sample == "one" else np.array([[1.0, 0.0], [1.0, 0.0]])
    result = measure(logits, targets, labels_per_sample)  # type: ignore[arg-type]
    assert result.log_loss == np.inf
    assert result.correct.tolist() == [False, True]


def test_no_samples() -> None:
    with pytest.raises(DataError, match="validation split without samples"):
        measure(np.empty((0, 2), np.float32), np.empty(0, np.int64), "one")
