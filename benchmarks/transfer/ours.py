"""Regraft on images: `python -m benchmarks.transfer.ours METHOD [KEPT]`, jobs on standard input.

KEPT is a workspace's folder with what earlier jobs left: the backbone that they resolved and its features; without it nothing is kept from
before.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.contest.job import Outcome, Stopwatch, run_contender
from benchmarks.contest.regraft import SPLITS, Learning, prepare
from benchmarks.transfer.job import Job
from pipelines.config import ProjectConfig, ShippedBackbone, SingleBackbone, TimmBackbone
from pipelines.core.bundle import file_sha256
from pipelines.dataset import Sample
from pipelines.stages import Stages
from pipelines.workspace import Workspace

IMPORTED_WHEN_NEEDED = ("sklearn.model_selection", "timm", "torch._dynamo")


def contend(job: Job, folder: Path) -> Outcome:
    prepare(job.n_threads, IMPORTED_WHEN_NEEDED)
    config = project(job, sys.argv[1])
    folder = Path(tempfile.mkdtemp(dir=folder))
    kept = Path(sys.argv[2]) if len(sys.argv) > 2 else folder / "kept"
    learning = Learning(Stages(Workspace(kept), config), Path("/"), folder)
    watch = Stopwatch()
    learning.learn(samples(job))
    return learning.outcome(watch)


def project(job: Job, method: str) -> ProjectConfig:
    """The conf file of this job."""
    sections: dict[str, dict[str, Any]] = {
        "auto": {"kind": "auto", "budget_minutes": job.budget_seconds / 60, "fine_tune": {"augment": augment(job)}},
        "probe": {"kind": "probe"},
        "lp_ft": {"kind": "lp_ft", "augment": augment(job)},
    }
    content = {
        "project": "benchmark",
        "task": "image",
        "labels": job.labels,
        "backbone": backbone(job).model_dump(),
        "method": sections[method],
        "seed": job.seed,
    }
    return ProjectConfig.model_validate(content | {"gates": [{"kind": "goldens"}]})


def backbone(job: Job) -> SingleBackbone:
    """The conf file's entry: the shipped backbone for symbols, a file of weights for photographs."""
    if job.in_channels == 1:
        return ShippedBackbone(kind="shipped", name="omniglot_resnet")
    size = {"height_px": job.side_px, "width_px": job.side_px, "fit": "crop"}
    entry = {
        "kind": "timm",
        "name": job.architecture,
        "weights": job.weights,
        "sha256": file_sha256(Path(job.weights)),
        "in_channels": job.in_channels,
        "model_args": job.model_args,
        "preprocess": {"color": "RGB", **size, "mean": job.mean, "std": job.std},
    }
    return TimmBackbone.model_validate(entry)


def augment(job: Job) -> dict[str, str]:
    """Photographs may be mirrored, symbols not."""
    return {"flips": "horizontal"} if job.flips else {}


def samples(job: Job) -> list[Sample]:
    """All of the draw, each file read for its id."""
    rows = [(split, path, label) for split in SPLITS for path, label in getattr(job, split)]
    return [Sample(file_sha256(Path(path)), path, label, path, "default", "", split) for split, path, label in rows]


if __name__ == "__main__":
    run_contender(Job, contend)
