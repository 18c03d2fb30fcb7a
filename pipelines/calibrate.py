"""Temperature scaling: one number that makes confidence mean what it says (Guo et al. 2017, https://arxiv.org/abs/1706.04599)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from pipelines.core.bundle import canonical_json
from pipelines.core.heads import softmax

# Outside of these a validation split is separable or the model knows nothing; the likelihood has no finite optimum there.
_LOWEST, _HIGHEST = 0.05, 20.0


def calibrate(trained: Path, out: Path) -> None:
    """Fits the temperature on the validation logits of stage `train` and writes `calibration.json`."""
    import safetensors.numpy

    validation = safetensors.numpy.load_file(trained / "validation.safetensors")
    logits, targets = validation["logits"], validation["targets"]
    temperature = fit_temperature(logits, targets)
    summary: dict[str, JsonValue] = {
        "temperature": temperature,
        "n": len(targets),
        "log_loss_before": log_loss(logits, targets, 1.0),
        "log_loss_after": log_loss(logits, targets, temperature),
    }
    (out / "calibration.json").write_bytes(canonical_json(summary))


def read_temperature(calibrated: Path) -> float:
    """The temperature that stage `calibrate` wrote."""
    return float(json.loads((calibrated / "calibration.json").read_bytes())["temperature"])


def fit_temperature(logits: NDArray[np.floating], targets: NDArray[np.int64]) -> float:
    """The temperature with the least log loss, in [0.05, 20].

    Args:
        logits: [n, k].
        targets: [n], index of the true label.
    """
    from scipy.optimize import minimize_scalar

    result = minimize_scalar(
        lambda log_temperature: log_loss(logits, targets, float(np.exp(log_temperature))),
        bounds=(np.log(_LOWEST), np.log(_HIGHEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(result.x))


def log_loss(logits: NDArray[np.floating], targets: NDArray[np.int64], temperature: float) -> float:
    """Mean negative log likelihood of the true labels, in nats."""
    probabilities = softmax(logits, temperature)
    return float(-np.log(np.maximum(probabilities[np.arange(len(targets)), targets], 1e-300)).mean())
