"""A registered model, judged again on the test split of the dataset version in use."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from flows.session import Session
from pipelines.core.errors import ConfigurationError
from pipelines.progress import Progress
from pipelines.stages import Stages


@dataclass(frozen=True)
class Evaluation:
    """What `evaluation.json` says, and of which version."""

    version: str
    content: dict[str, Any]


def evaluate_version(session: Session, version: str | None, progress: Progress) -> Evaluation:
    """Evaluates a version, the champion where None.

    Raises:
        ConfigurationError: There is no such version.
    """
    from pipelines.versioning import registry
    from pipelines.versioning.dataset import dataset_version

    root, project = session.workspace.root, session.config.project
    record = registry.champion(root, project)
    if version is None and record is None:
        raise ConfigurationError(
            got="a workspace without a champion.", allowed="a registered version.", next_step="run `regraft retrain` first."
        )
    name = version or (record.version if record else "")
    bundle = registry.fetch_bundle(root, project, name, session.workspace.serving / "bundles")
    stages = Stages(session.workspace, session.config, progress)
    split = stages.split(stages.manifest(dataset_version(root).digest))
    output = stages.evaluate(bundle, split)
    return Evaluation(name, json.loads((output.path / "evaluation.json").read_bytes()))
