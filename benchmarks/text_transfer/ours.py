"""Regraft on texts: `python -m benchmarks.text_transfer.ours METHOD`, jobs on standard input; nothing is kept between jobs."""

from __future__ import annotations

import csv
import hashlib
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.contest.job import Outcome, Stopwatch, run_contender
from benchmarks.contest.regraft import SPLITS, Learning, prepare
from benchmarks.text_transfer.job import TextJob
from benchmarks.text_transfer.tasks import entry
from pipelines.config import ProjectConfig
from pipelines.dataset import Sample
from pipelines.stages import Stages
from pipelines.text_rows import TEXT_COLUMN, text_bytes, text_paths
from pipelines.workspace import Workspace

IMPORTED_WHEN_NEEDED = ("sklearn.model_selection", "transformers", "transformers.models.bert.modeling_bert", "tokenizers", "torch._dynamo")
TABLE = "labels.csv"


def contend(job: TextJob, folder: Path) -> Outcome:
    prepare(job.n_threads, IMPORTED_WHEN_NEEDED)
    folder = Path(tempfile.mkdtemp(dir=folder))
    learning = Learning(Stages(Workspace(folder / "kept"), project(job, sys.argv[1])), folder / "data", folder)
    watch = Stopwatch()
    learning.learn(samples(job, folder / "data"))
    return learning.outcome(watch)


def project(job: TextJob, method: str) -> ProjectConfig:
    """The conf file of this job."""
    sections: dict[str, dict[str, Any]] = {
        "auto": {"kind": "auto", "budget_minutes": job.budget_seconds / 60},
        "probe": {"kind": "probe"},
        "setfit": {"kind": "setfit"},
    }
    content = {
        "project": "benchmark",
        "task": "text",
        "labels": job.labels,
        "backbone": entry(job.max_tokens).model_dump(),
        "method": sections[method],
        "seed": job.seed,
    }
    return ProjectConfig.model_validate(content | {"gates": [{"kind": "goldens"}]})


def samples(job: TextJob, data: Path) -> list[Sample]:
    """All of the draw, in a labels table as a workspace has it."""
    rows = [(split, text, label) for split in SPLITS for text, label in getattr(job, split)]
    data.mkdir()
    with (data / TABLE).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow([TEXT_COLUMN, "label"])
        writer.writerows((text, label) for _, text, label in rows)
    paths = text_paths([text for _, text, _ in rows], TABLE)
    ids = [hashlib.sha256(text_bytes(text)).hexdigest() for _, text, _ in rows]
    return [Sample(id_, path, label, id_, "default", "", split) for id_, path, (split, _, label) in zip(ids, paths, rows, strict=True)]


if __name__ == "__main__":
    run_contender(TextJob, contend)
