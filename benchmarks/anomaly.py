"""Anomalies among handwritten digits, one digit at a time held as the anomaly. Needs ../shared.

Run: `python -m benchmarks.anomaly`. Writes results/anomaly.csv and a .json with the machine. MNIST digits through the shipped backbone,
which has never seen a digit; the other nine digits are normal: 2,000 of them fit the scorer, 500 set the threshold at a false-alarm
rate of 5 %, 1,000 and 200 anomalies judge. Five draws.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import write_results
from benchmarks.real_digits import BACKBONE, SHIPPED, _png, _read
from pipelines.anomaly import AnomalyScorer, Detection, MahalanobisScorer, NearestNeighbourScorer, alarm_threshold, measure_detection

N_FIT, N_THRESHOLD, N_NORMAL, N_ANOMALIES = 2_000, 500, 1_000, 200
RATE = 0.05
SEEDS = (0, 1, 2, 3, 4)
COMMAND = "python -m benchmarks.anomaly"
Features = NDArray[np.float32]
SCORERS: dict[str, Callable[[Features], AnomalyScorer]] = {
    "mahalanobis": MahalanobisScorer.fitted,
    "nearest neighbour": NearestNeighbourScorer.fitted,
}


def features() -> tuple[Features, NDArray[np.int64]]:
    """All of MNIST's digits at hand through the backbone."""
    from pipelines.backbone_cards import load_shipped
    from pipelines.core.backbones import build_backbone
    from pipelines.core.preprocess import preprocess

    card, weights = load_shipped(BACKBONE, SHIPPED)
    backbone = build_backbone(card.spec).eval()
    backbone.load_state_dict(weights)
    images, labels = _read("mnist_6k", ("train", "test"))
    rows = []
    with torch.inference_mode():
        for start in range(0, len(images), 256):
            batch = preprocess([_png(image) for image in images[start : start + 256]], card.preprocess)
            rows.append(backbone(torch.from_numpy(batch)).numpy())
    return np.concatenate(rows), labels


def detections(rows: Features, labels: NDArray[np.int64], digit: int, seed: int) -> Iterator[tuple[str, Detection]]:
    """Of one digit in one draw, with each scorer."""
    rng = np.random.default_rng([seed, digit])
    normal = rng.permutation(np.flatnonzero(labels != digit))
    anomalies = rng.permutation(np.flatnonzero(labels == digit))[:N_ANOMALIES]
    fit, held_out, judged = np.split(normal[: N_FIT + N_THRESHOLD + N_NORMAL], [N_FIT, N_FIT + N_THRESHOLD])
    is_anomaly = np.arange(len(judged) + len(anomalies)) >= len(judged)
    for name, fitted in SCORERS.items():
        scorer = fitted(rows[fit])
        threshold = alarm_threshold(scorer.scores(rows[held_out]), RATE)
        yield name, measure_detection(scorer.scores(rows[np.concatenate([judged, anomalies])]), is_anomaly, threshold)


def main() -> None:
    torch.set_num_threads(1)
    rows, labels = features()
    table: list[dict[str, object]] = []
    for digit in range(10):
        found = [(name, one) for seed in SEEDS for name, one in detections(rows, labels, digit, seed)]
        for name in SCORERS:
            ones = [one for scorer, one in found if scorer == name]
            table.append({"anomaly": digit, "scorer": name, "n_draws": len(ones), **_means(ones)})
            print(table[-1], flush=True)
    settings = {"rate": RATE, "n_fit": N_FIT, "n_threshold": N_THRESHOLD, "n_normal": N_NORMAL, "n_anomalies": N_ANOMALIES, "seeds": SEEDS}
    write_results("anomaly", COMMAND, table, {"settings": settings})


def _means(ones: list[Detection]) -> dict[str, object]:
    found: dict[str, object] = {}
    for name in ("auroc", "recall", "false_alarms"):
        values = [getattr(one, name).value for one in ones]
        spread = {"mean": float(np.mean(values)), "min": min(values), "max": max(values)}
        found |= {f"{name}_{what}": round(value, 4) for what, value in spread.items()}
    return found


if __name__ == "__main__":
    main()
