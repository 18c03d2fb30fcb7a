"""A source of samples through all stages up to the evaluated bundle, and the features of its training split."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipelines.config import ProjectConfig
from pipelines.core.bundle import read_manifest
from pipelines.import_data import import_samples
from pipelines.selected_backbone import read_selected
from pipelines.stages import Stages
from pipelines.training.embedding import embed
from pipelines.training.gathering import material_for
from pipelines.training.inputs import SampleInputs
from pipelines.workspace import Workspace


@dataclass(frozen=True)
class PackagedRun:
    """What the stages left behind.

    Attributes:
        stages: Of the workspace.
        samples: `samples.csv` of the split.
        bundle: Directory of the bundle.
        evaluated: Output of its evaluation.
    """

    stages: Stages
    samples: Path
    bundle: Path
    evaluated: Path

    @property
    def evaluation(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.evaluated / "evaluation.json").read_bytes())
        return found


def packaged(root: Path, source: Path, config: ProjectConfig) -> PackagedRun:
    """Imports, trains, packages and evaluates; `root` becomes the workspace."""
    import_samples(source, root / "data", task=config.task)
    stages = Stages(Workspace(root), config)
    dataset = hashlib.sha256((root / "data" / "labels.csv").read_bytes()).hexdigest()
    split = stages.split(stages.manifest(dataset))
    selected = stages.select(split)
    trained = stages.train(split, selected)
    bundle = stages.package(dataset, split, selected, trained, stages.calibrate(trained)).path / "bundle"
    return PackagedRun(stages, split.path / "samples.csv", bundle, stages.evaluate(bundle, split).path)


def check_the_same_bundle(one: PackagedRun, source: Path, root: Path) -> None:
    """Made again in another workspace it has the same id."""
    again = packaged(root, source, one.stages.config)
    assert read_manifest(again.bundle)[1] == read_manifest(one.bundle)[1]


def check_the_same_features(run: PackagedRun, folder: Path) -> SampleInputs:
    """Features are the same bits whichever samples share the batch and however many threads read them.

    Returns:
        The training inputs, for what else is to be said of them.
    """
    choice = read_selected(run.stages.select(None).path / "backbone.json")
    material = material_for(
        choice, run.samples, run.stages.workspace.data, run.stages.config, folder / "features", folder / "checkpoints", lambda *_: None
    )
    network, inputs = material.fresh_backbone(0.0), material.train
    assert isinstance(inputs, SampleInputs)
    whole = embed(network, inputs, n_workers=2)
    order = np.random.default_rng(0).permutation(len(inputs))[:11]
    some = SampleInputs([inputs.samples[place] for place in order], inputs.data, inputs.preprocess, inputs.labels, folder=choice.folder)
    assert np.array_equal(embed(network, some, n_workers=1), whole[order])
    return inputs
