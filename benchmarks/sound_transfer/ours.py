"""Regraft on sounds: `python -m benchmarks.sound_transfer.ours METHOD`, jobs on standard input; nothing is kept between jobs.

`auto` has the job's budget, `default` what a conf file without the section `method` gives.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.contest.job import Outcome, Stopwatch, run_contender
from benchmarks.contest.regraft import SPLITS, Learning, prepare
from benchmarks.sound_transfer.job import SoundJob
from benchmarks.sound_transfer.tasks import entry, speaker_of
from pipelines.config import ProjectConfig
from pipelines.core.bundle import file_sha256
from pipelines.dataset import Sample
from pipelines.stages import Stages
from pipelines.workspace import Workspace

IMPORTED_WHEN_NEEDED = ("sklearn.model_selection", "timm", "torch._dynamo", "soundfile", "soxr")


def contend(job: SoundJob, folder: Path) -> Outcome:
    prepare(job.n_threads, IMPORTED_WHEN_NEEDED)
    folder = Path(tempfile.mkdtemp(dir=folder))
    learning = Learning(Stages(Workspace(folder / "kept"), project(job, sys.argv[1])), Path("/"), folder)
    watch = Stopwatch()
    learning.learn(samples(job))
    return learning.outcome(watch)


def project(job: SoundJob, method: str) -> ProjectConfig:
    """The conf file of this job."""
    sections: dict[str, dict[str, Any]] = {"auto": {"method": {"kind": "auto", "budget_minutes": job.budget_seconds / 60}}, "default": {}}
    content = {
        "project": "benchmark",
        "task": "audio",
        "labels": job.labels,
        "backbone": entry().model_dump(),
        "gates": [{"kind": "goldens"}],
        "seed": job.seed,
    }
    return ProjectConfig.model_validate(content | sections[method])


def samples(job: SoundJob) -> list[Sample]:
    """All of the draw; who speaks is the group."""
    rows = [(split, path, label) for split in SPLITS for path, label in getattr(job, split)]
    return [Sample(file_sha256(Path(path)), path, label, speaker_of(path), speaker_of(path), "", split) for split, path, label in rows]


if __name__ == "__main__":
    run_contender(SoundJob, contend)
