"""The floor: scikit-learn's logistic regression, C by cross-validation, on the frozen backbone's features."""

from __future__ import annotations

import time
from pathlib import Path

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmarks.transfer.job import Job, Outcome, run_contender
from benchmarks.transfer.ours import backbone
from pipelines.backbones import load_backbone, select_backbone
from pipelines.core.preprocess import preprocess


def contend(job: Job, folder: Path) -> Outcome:
    torch.set_num_threads(job.n_threads)
    started = time.perf_counter()
    entry = backbone(job)
    selected = select_backbone(entry)
    network = load_backbone(entry, selected).eval()

    def features(rows: list[list[str]]) -> object:
        parts = []
        for start in range(0, len(rows), 64):
            batch = preprocess([Path(path).read_bytes() for path, _ in rows[start : start + 64]], selected.image_preprocess)
            with torch.inference_mode():
                parts.append(network(torch.from_numpy(batch)))
        return torch.cat(parts).numpy()

    pipeline = make_pipeline(StandardScaler(), LogisticRegression(max_iter=5000))
    folds = StratifiedKFold(3, shuffle=True, random_state=job.seed)
    search = GridSearchCV(pipeline, {"logisticregression__C": (0.01, 0.1, 1.0, 10.0)}, cv=folds)
    search.fit(features(job.train), [row[1] for row in job.train])
    seconds = time.perf_counter() - started
    return Outcome(float(search.score(features(job.test), [row[1] for row in job.test])), seconds)


if __name__ == "__main__":
    run_contender(contend)
