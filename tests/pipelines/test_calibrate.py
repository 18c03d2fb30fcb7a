from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss as sklearn_log_loss

from pipelines.calibrate import fit_temperature, log_loss
from pipelines.core.heads import softmax


def sample(temperature: float, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Logits that are too sharp by `temperature`, and labels drawn from the true probabilities."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 5)) * 2
    targets = np.array([rng.choice(5, p=row) for row in softmax(logits)])
    return logits * temperature, targets


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_finds_the_temperature_that_was_planted(temperature: float) -> None:
    logits, targets = sample(temperature, 20_000, seed=0)
    assert fit_temperature(logits, targets) == pytest.approx(temperature, rel=0.05)


def test_log_loss_equals_scikit_learn() -> None:
    logits, targets = sample(1.0, 50, seed=1)
    assert log_loss(logits, targets, 2.0) == pytest.approx(sklearn_log_loss(targets, softmax(logits, 2.0), labels=range(5)))


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 10_000))
def test_never_worse_than_no_calibration(seed: int) -> None:
    logits, targets = sample(2.0, 20, seed)
    assert log_loss(logits, targets, fit_temperature(logits, targets)) <= log_loss(logits, targets, 1.0) + 1e-6


def test_separable_data_stay_in_bounds() -> None:
    logits = np.eye(3)[[0, 1, 2]] * 5
    assert 0.05 <= fit_temperature(logits, np.array([0, 1, 2])) <= 20
