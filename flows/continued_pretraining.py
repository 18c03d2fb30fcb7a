"""`regraft backbones continue-pretraining`: the workspace's text backbone reads unlabelled texts of its domain."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from flows.device_lock import alone_on
from flows.session import Session
from pipelines.config import ProjectConfig
from pipelines.core.bundle import canonical_json, file_sha256
from pipelines.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable

    from pipelines.continue_pretraining import Continued
    from pipelines.masked_language.training import PretrainingSettings


@dataclass(frozen=True)
class ContinuedPretraining:
    """What the command did, and what the conf file is to say."""

    continued: Continued
    conf_lines: str

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        done = self.continued
        return {
            "backbone": {**done.entry.model_dump(mode="json", exclude_none=True), "folder": str(done.entry.folder)},
            "texts": done.texts.counts.as_json(),
            **done.outcome.as_json(),
        }

    def as_text(self) -> str:
        """For people: what was gained."""
        before, after = self.continued.outcome.before, self.continued.outcome.after
        cut = self.continued.outcome.cut_at
        lines = [
            f"Loss on {after.n_tokens} hidden tokens of {self.continued.texts.counts.n_held_out} held-out texts: "
            f"{before.loss:.4f} before, {after.loss:.4f} after.",
            f"Guessed right: {100 * before.accuracy:.1f} % before, {100 * after.accuracy:.1f} % after.",
        ]
        if cut is not None:
            lines.append(f"The deadline ended it in round {cut[0]}; the best round before it is kept.")
        return "\n".join([*lines, "Write this into the conf file, then run `regraft retrain`:"])


def continue_workspace_backbone(
    session: Session, texts: Path, out: Path, settings: PretrainingSettings, progress: Progress, tell: Callable[[str], None]
) -> ContinuedPretraining:
    """Leaves the texts of the workspace's test split out, waits for the device, and trains.

    Args:
        session: Of the workspace.
        texts: The file.
        out: The new folder.
        settings: How.
        progress: Told of every step.
        tell: Told in words what became of the texts.

    Raises:
        ConfigurationError, DataError, IntegrityError, RefusedError: As `pipelines.continue_pretraining.continue_pretraining`; or the
            workspace's data failed its validation, or others hold the device.
    """
    from pipelines.continue_pretraining import continue_pretraining

    config, workspace = session.config, session.workspace
    checkpoints = workspace.checkpoints / _name_of(config, texts, settings)
    target = out.expanduser().resolve()
    digests = frozenset[str]() if config.task != "text" else digests_of_test_split(session, progress)
    with alone_on(config.device, config.operation.device_wait_minutes, f"the continued pretraining of {config.project}"):
        done = continue_pretraining(config, texts.expanduser(), digests, settings, checkpoints, target, progress, tell)
    return ContinuedPretraining(done, done.conf_lines(workspace.root))


def digests_of_test_split(session: Session, progress: Progress) -> frozenset[str]:
    """The `text_digest` of every text of the workspace's test split.

    Raises:
        DataError: The workspace's data failed its validation.
    """
    from pipelines.dataset import read_sample, read_samples
    from pipelines.manifest import SAMPLES
    from pipelines.modalities.inspection import read_inputs
    from pipelines.modalities.text_inputs import text_digest
    from pipelines.stages import Stages
    from pipelines.validate import raise_for_validation
    from pipelines.versioning.dataset import dataset_version

    stages = Stages(session.workspace, session.config, progress)
    manifest = stages.manifest(dataset_version(session.workspace.root).digest)
    raise_for_validation(stages.validate(manifest).path)
    test = read_samples(stages.split(manifest).path / SAMPLES, "test")
    described, inputs = read_inputs(manifest.path)
    whole = inputs.loc[inputs["path"].isin({sample.path for sample in test}), described.digest]
    # A file with a text in each line has a text of several lines in pieces.
    texts = (read_sample(session.workspace.data, sample).decode("utf-8", "replace") for sample in test)
    return frozenset(whole) | {text_digest(line) for text in texts if "\n" in text for line in text.splitlines() if line.strip()}


def _name_of(config: ProjectConfig, texts: Path, settings: PretrainingSettings) -> str:
    """Of the folder of checkpoints: another file or setting does not end what was begun."""
    file = texts.expanduser()
    content: dict[str, JsonValue] = {
        "backbone": config.backbone.model_dump(mode="json"),
        "texts": file_sha256(file) if file.is_file() else "",
        "settings": {key: str(value) for key, value in settings.model_dump().items() if key != "minutes"},
    }
    return hashlib.sha256(canonical_json(content)).hexdigest()
