"""Stages that only a run's report needs, besides those of `pipelines.stages`; each through the store, and after the decision."""

from __future__ import annotations

from pathlib import Path

from pydantic import JsonValue

from pipelines.config import MACHINE_PATHS, ProjectConfig
from pipelines.stages import Stages
from pipelines.store import StageOutput, StageStore


def wants_zero_shot(config: ProjectConfig) -> bool:
    """Whether label names are to be compared with test samples: of images only where the conf file names a network that reads both."""
    return config.zero_shot.enabled and (config.task == "text" or config.zero_shot.clip is not None)


def zero_shot(stages: Stages, split: StageOutput, selected: StageOutput) -> StageOutput:
    """Measures what label names alone get right of the test split.

    Args:
        stages: Of the workspace; the conf file asks for it (`wants_zero_shot`).
        split: Its test samples are asked.
        selected: The candidate's backbone.
    """
    config = stages.config

    def make(out: Path) -> None:
        from pipelines.selected_backbone import read_selected
        from pipelines.training.gathering import material_for
        from pipelines.zero_shot import zero_shot

        choice, samples = read_selected(selected.path / "backbone.json"), split.path / "samples.csv"
        material = material_for(choice, samples, stages.workspace.data, config, stages.workspace.features, out, stages.progress)
        zero_shot(material, samples, stages.workspace.data, out)

    included = {"task", "labels", "labels_per_sample", "device", "zero_shot"}
    sections = config.model_dump(mode="json", include=included, exclude=MACHINE_PATHS)
    key: dict[str, JsonValue] = {"split": split.fingerprint, "select": selected.fingerprint, **sections, "clip": _clip(config)}
    return StageStore(stages.workspace.store).run("zero_shot", key, "pipelines.zero_shot", make)


def _clip(config: ProjectConfig) -> JsonValue:
    if config.zero_shot.clip is None:
        return None
    from pipelines.clip_files import clip_source

    return clip_source(config.zero_shot.clip)
