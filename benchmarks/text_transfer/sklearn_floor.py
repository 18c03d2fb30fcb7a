"""The floor on texts (`benchmarks.contest.floor`): Regraft's network asked with plain batches of 32 in the order that the texts have."""

from __future__ import annotations

from pathlib import Path

import torch

from benchmarks.contest.floor import fitted_floor
from benchmarks.contest.job import Outcome, Stopwatch, run_contender
from benchmarks.text_transfer.job import TextJob
from benchmarks.text_transfer.tasks import entry
from pipelines.backbones import load_backbone, select_backbone

_BATCH = 32


def contend(job: TextJob, folder: Path) -> Outcome:
    torch.set_num_threads(job.n_threads)
    watch = Stopwatch()
    selected = select_backbone(entry(job.max_tokens))
    network = load_backbone(entry(job.max_tokens), selected).eval()
    modality = selected.modality

    def features(rows: list[list[str]]) -> object:
        parts = []
        for start in range(0, len(rows), _BATCH):
            arrays = [modality.to_array(modality.decode(text.encode())) for text, _ in rows[start : start + _BATCH]]
            with torch.inference_mode():
                parts.append(network(torch.from_numpy(modality.batch(arrays))))
        return torch.cat(parts).numpy()

    search = fitted_floor(features(job.train), [row[1] for row in job.train], job.seed)
    seconds = watch.read()
    return Outcome(float(search.score(features(job.test), [row[1] for row in job.test])), *seconds)


if __name__ == "__main__":
    run_contender(TextJob, contend)
