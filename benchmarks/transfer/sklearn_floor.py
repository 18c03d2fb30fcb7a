"""The floor on images (`benchmarks.contest.floor`)."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.contest.floor import fitted_floor
from benchmarks.contest.job import Outcome, Stopwatch, run_contender
from benchmarks.transfer.job import Job
from benchmarks.transfer.ours import backbone
from pipelines.backbones import load_backbone, select_backbone
from pipelines.core.preprocess import preprocess


def contend(job: Job, folder: Path) -> Outcome:
    torch.set_num_threads(job.n_threads)
    watch = Stopwatch()
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

    search = fitted_floor(features(job.train), [row[1] for row in job.train], job.seed)
    seconds = watch.read()
    return Outcome(float(search.score(features(job.test), [row[1] for row in job.test])), *seconds)


if __name__ == "__main__":
    run_contender(Job, contend)
