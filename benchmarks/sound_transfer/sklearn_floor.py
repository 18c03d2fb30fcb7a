"""The floor: scikit-learn's logistic regression on the pretrained network's features, C by the speaker to choose by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.contest.job import Outcome, Stopwatch, run_contender
from benchmarks.sound_transfer.job import SoundJob
from benchmarks.sound_transfer.tasks import entry
from pipelines.backbones import load_backbone, select_backbone

_BATCH = 32
STRENGTHS = (0.001, 0.01, 0.1, 1.0, 10.0)


def contend(job: SoundJob, folder: Path) -> Outcome:
    torch.set_num_threads(job.n_threads)
    watch = Stopwatch()
    selected = select_backbone(entry())
    network, modality = load_backbone(entry(), selected).eval(), selected.modality

    def features(rows: list[list[str]]) -> NDArray[np.float32]:
        parts = []
        for start in range(0, len(rows), _BATCH):
            arrays = [modality.to_array(modality.decode(Path(path).read_bytes())) for path, _ in rows[start : start + _BATCH]]
            with torch.inference_mode():
                parts.append(network(torch.from_numpy(modality.batch(arrays))).numpy())
        return np.concatenate(parts)

    known, labels = features(job.train), [row[1] for row in job.train]
    fitted = [_fitted(known, labels, strength) for strength in STRENGTHS]
    chosen_by, truth = features(job.validation), [row[1] for row in job.validation]
    best = max(fitted, key=lambda pipeline: float(pipeline.score(chosen_by, truth)))
    seconds = watch.read()
    return Outcome(float(best.score(features(job.test), [row[1] for row in job.test])), *seconds)


def _fitted(features: NDArray[np.float32], labels: list[str], strength: float) -> Pipeline:
    return make_pipeline(StandardScaler(), LogisticRegression(C=strength, max_iter=5000)).fit(features, labels)


if __name__ == "__main__":
    run_contender(SoundJob, contend)
