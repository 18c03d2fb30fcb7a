"""Temperature scaling: one number that makes confidence mean what it says (Guo et al. 2017, https://arxiv.org/abs/1706.04599).

Where a sample has any number of labels, also from which probability on it is said to have each of them.

Letters for shapes: n samples, k labels.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from pipelines.core.bundle import canonical_json
from pipelines.core.heads import sigmoid, softmax
from pipelines.core.label_sets import LabelsPerSample
from pipelines.thresholds import fit_thresholds

# Outside of these a validation split is separable or the model knows nothing; the likelihood has no finite optimum there.
_LOWEST, _HIGHEST = 0.05, 20.0


@dataclass(frozen=True)
class Calibration:
    """What stage `calibrate` found.

    Attributes:
        temperature: Divides the logits.
        thresholds: One for each label where a sample has any number of them, each in (0, 1).
    """

    temperature: float
    thresholds: tuple[float, ...] | None


def calibrate(trained: Path, out: Path) -> None:
    """Fits the temperature on the validation logits of stage `train`, chooses thresholds where they are needed, writes `calibration.json`.

    Args:
        trained: With `validation.safetensors`: `logits` [n, k], `targets`, int64 [n], or [n, k] where a sample has any number of labels,
            and there `groups`, int64 [n].
        out: Gets the file.
    """
    import safetensors.numpy

    validation = safetensors.numpy.load_file(trained / "validation.safetensors")
    logits, targets = validation["logits"], validation["targets"]
    kind: LabelsPerSample = "one" if targets.ndim == 1 else "many"
    temperature = fit_temperature(logits, targets, kind)
    summary: dict[str, JsonValue] = {
        "temperature": temperature,
        "n": len(targets),
        "log_loss_before": log_loss(logits, targets, 1.0, kind),
        "log_loss_after": log_loss(logits, targets, temperature, kind),
    }
    if kind == "many":
        summary["thresholds"] = list(fit_thresholds(sigmoid(logits, temperature), targets, validation["groups"]))
        summary["n_positive"] = targets.sum(axis=0).astype(int).tolist()
    (out / "calibration.json").write_bytes(canonical_json(summary))


def read_calibration(calibrated: Path) -> Calibration:
    """What stage `calibrate` wrote."""
    content = json.loads((calibrated / "calibration.json").read_bytes())
    thresholds = content.get("thresholds")
    return Calibration(float(content["temperature"]), None if thresholds is None else tuple(map(float, thresholds)))


def fit_temperature(logits: NDArray[np.floating], targets: NDArray[Any], labels_per_sample: LabelsPerSample = "one") -> float:
    """The temperature with the least log loss, in [0.05, 20].

    Args:
        logits: [n, k].
        targets: [n], index of the true label. Many labels: [n, k] of 0 and 1.
        labels_per_sample: `many`: one temperature for the logits of all labels.
    """
    from scipy.optimize import minimize_scalar

    result = minimize_scalar(
        lambda log_temperature: log_loss(logits, targets, float(np.exp(log_temperature)), labels_per_sample),
        bounds=(np.log(_LOWEST), np.log(_HIGHEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(result.x))


def log_loss(logits: NDArray[np.floating], targets: NDArray[Any], temperature: float, labels_per_sample: LabelsPerSample = "one") -> float:
    """Mean negative log likelihood of the truth, in nats: of the true labels, or of each label's presence or absence."""
    if labels_per_sample == "many":
        # -log(sigmoid(margin)) for the margin on the side of the truth, without the rounding of probabilities near 1.
        margins = np.where(np.asarray(targets) > 0, 1.0, -1.0) * np.asarray(logits, dtype=np.float64)
        return float(np.logaddexp(0.0, -margins / temperature).mean())
    probabilities = softmax(logits, temperature)
    return float(-np.log(np.maximum(probabilities[np.arange(len(targets)), targets], 1e-300)).mean())
