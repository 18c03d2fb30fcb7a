"""The stages that look at the data themselves, each through the store as those of `pipelines.stages` are."""

from __future__ import annotations

from pathlib import Path

from pipelines.stages import Stages
from pipelines.store import StageOutput, StageStore


def near_duplicates(stages: Stages, split: StageOutput) -> StageOutput:
    """Finds pictures that look alike; the gate `leakage` and the audit read it."""

    def make(out: Path) -> None:
        from pipelines.near_duplicates import find_near_duplicates

        find_near_duplicates(split.path / "samples.csv", stages.workspace.data, out, stages.config.task)

    return StageStore(stages.workspace.store).run("near_duplicates", {"split": split.fingerprint}, "pipelines.near_duplicates", make)


def audit(stages: Stages, split: StageOutput, selected: StageOutput, found: StageOutput) -> StageOutput:
    """Looks for wrong labels and outliers.

    Args:
        stages: Of the workspace.
        split: Of the dataset version.
        selected: The backbone, whose features are looked at.
        found: Output of `near_duplicates`.
    """

    def make(out: Path) -> None:
        from pipelines.audit.stage import audit
        from pipelines.selected_backbone import read_selected

        choice = read_selected(selected.path / "backbone.json")
        workspace = stages.workspace
        audit(split.path / "samples.csv", found.path, choice, workspace.data, stages.config, workspace.features, out, stages.progress)

    sections = stages.config.model_dump(mode="json", include={"project", "labels", "labels_per_sample", "device", "seed"})
    key = {"split": split.fingerprint, "select": selected.fingerprint, "near_duplicates": found.fingerprint, **sections}
    return StageStore(stages.workspace.store).run("audit", key, "pipelines.audit.stage", make)


def truncation(stages: Stages, split: StageOutput, selected: StageOutput) -> StageOutput:
    """Counts the texts that are longer than the backbone reads.

    Args:
        stages: Of the workspace, whose task is `text`.
        split: Of the dataset version.
        selected: The backbone, with its tokeniser.
    """

    def make(out: Path) -> None:
        from pipelines.selected_backbone import read_selected
        from pipelines.truncation import measure_truncation

        choice = read_selected(selected.path / "backbone.json")
        measure_truncation(split.path / "samples.csv", stages.workspace.data, choice.text_modality, out, stages.progress)

    key = {"split": split.fingerprint, "select": selected.fingerprint}
    return StageStore(stages.workspace.store).run("truncation", key, "pipelines.truncation", make)
