"""All stages from the split on, on the small project of real digits: what a run leaves behind, in seconds."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from pipelines.config import ProjectConfig
from pipelines.dataset import Sample, read_samples, write_samples
from pipelines.split import COPIES
from pipelines.stages import Stages
from pipelines.store import StageOutput
from pipelines.workspace import Workspace
from tests.pipelines.conftest import tiny_config

DATASET = "0" * 32 + ".dir"


@dataclass(frozen=True)
class SmallRun:
    """A workspace with the outputs of its stages, by name."""

    stages: Stages
    outputs: dict[str, StageOutput]

    @property
    def config(self) -> ProjectConfig:
        return self.stages.config

    @property
    def bundle(self) -> Path:
        return self.outputs["package"].path / "bundle"


def small_run(root: Path, weights: Path, digits: Path, samples: list[Sample] | None = None, **changes: object) -> SmallRun:
    """Runs them in `root`.

    Args:
        root: Empty; becomes the workspace.
        weights: Of `test_resnet`.
        digits: `data/` and `samples.csv`.
        samples: In place of those of `samples.csv`.
        changes: Of the configuration; a quick probe where they do not say.
    """
    shutil.copytree(digits / "data", root / "data")
    (root / "split").mkdir()
    write_samples(samples or read_samples(digits / "samples.csv"), root / "split" / "samples.csv")
    (root / "split" / COPIES).write_text("path,copy_of\n")
    probe = {"method": {"kind": "probe", "strengths": [0.1]}}
    stages = Stages(Workspace(root), tiny_config(weights, **(probe | changes)))
    outputs = {"split": StageOutput("split", "5" * 64, root / "split", cached=True, seconds=0.5)}
    outputs["select"] = stages.select()
    outputs["train"] = stages.train(outputs["split"], outputs["select"])
    outputs["calibrate"] = stages.calibrate(outputs["train"])
    made_from = (outputs[name] for name in ("split", "select", "train", "calibrate"))
    outputs["package"] = stages.package(DATASET, *made_from)
    outputs["evaluate"] = stages.evaluate(outputs["package"].path / "bundle", outputs["split"])
    return SmallRun(stages, outputs)
