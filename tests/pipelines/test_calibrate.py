from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import save_file
from scipy import special
from sklearn.metrics import log_loss as sklearn_log_loss

from pipelines.calibrate import calibrate, fit_temperature, log_loss, read_calibration
from pipelines.core.heads import sigmoid, softmax
from pipelines.thresholds import fit_thresholds


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


@settings(max_examples=30)
@given(st.integers(0, 10_000))
def test_never_worse_than_no_calibration(seed: int) -> None:
    logits, targets = sample(2.0, 20, seed)
    assert log_loss(logits, targets, fit_temperature(logits, targets)) <= log_loss(logits, targets, 1.0) + 1e-6


def test_separable_data_stay_in_bounds() -> None:
    logits = np.eye(3)[[0, 1, 2]] * 5
    assert 0.05 <= fit_temperature(logits, np.array([0, 1, 2])) <= 20


def sample_of_sets(temperature: float, n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(n, 4)) * 2 - 1
    targets = (rng.random(logits.shape) < special.expit(logits)).astype(np.float32)
    return logits * temperature, targets


@pytest.mark.parametrize("temperature", [0.5, 1.0, 3.0])
def test_finds_the_temperature_of_sets(temperature: float) -> None:
    logits, targets = sample_of_sets(temperature, 10_000, seed=0)
    assert fit_temperature(logits, targets, "many") == pytest.approx(temperature, rel=0.05)


def test_log_loss_of_sets_is_the_mean_of_scikit_learns_over_the_labels() -> None:
    logits, targets = sample_of_sets(1.0, 50, seed=1)
    expected = np.mean([sklearn_log_loss(targets[:, k], special.expit(logits[:, k] / 2), labels=[0, 1]) for k in range(4)])
    assert log_loss(logits, targets, 2.0, "many") == pytest.approx(expected)
    assert np.isfinite(log_loss(logits * 1e4, targets, 1.0, "many"))


@pytest.mark.parametrize("kind", ["one", "many"])
def test_the_file_says_what_the_bundle_needs(tmp_path: Path, kind: str) -> None:
    logits, targets = sample(2.0, 200, 0) if kind == "one" else sample_of_sets(2.0, 200, 0)
    save_file({"logits": logits, "targets": targets, "groups": np.arange(200)}, tmp_path / "validation.safetensors")
    calibrate(tmp_path, tmp_path)
    found = read_calibration(tmp_path)
    content = json.loads((tmp_path / "calibration.json").read_bytes())
    assert found.temperature == pytest.approx(2.0, rel=0.3)
    assert content["log_loss_after"] < content["log_loss_before"]
    if kind == "one":
        assert found.thresholds is None
        assert content.keys() == {"temperature", "n", "log_loss_before", "log_loss_after"}
    else:
        assert found.thresholds == tuple(fit_thresholds(sigmoid(logits, found.temperature), targets))
        assert content["n_positive"] == targets.sum(axis=0).tolist()
