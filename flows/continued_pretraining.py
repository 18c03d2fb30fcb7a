"""`regraft backbones continue-pretraining`: the workspace's backbone learns from unlabelled texts or images of its domain."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, JsonValue

from flows.device_lock import alone_on
from flows.session import Session
from pipelines.config import ProjectConfig
from pipelines.core.bundle import canonical_json, file_sha256
from pipelines.core.errors import ConfigurationError
from pipelines.progress import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from pipelines.continue_image_pretraining import ContinuedImages
    from pipelines.continue_pretraining import Continued
    from pipelines.dataset import Sample
    from pipelines.masked_language.training import PretrainingSettings
    from pipelines.siamese.training import ImagePretrainingSettings


@dataclass(frozen=True)
class ContinuedPretraining:
    """What the command did, and what the conf file is to say."""

    continued: Continued | ContinuedImages
    conf_lines: str

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return self.continued.as_json()

    def as_text(self) -> str:
        """For people: what was gained."""
        return "\n".join([*self.continued.as_lines(), "Write this into the conf file, then run `regraft retrain`:"])


def pretraining_settings(
    config: ProjectConfig, texts: Path | None, images: Path | None, given: Mapping[str, Any], tell: Callable[[str], None]
) -> tuple[Path, PretrainingSettings | ImagePretrainingSettings]:
    """What is to be learnt from, and how.

    Args:
        config: Gives the seed where none is given, and the flips of images.
        texts: The file.
        images: The folder.
        given: Settings by their names; nothing takes the default.
        tell: Told in words of what was decided.

    Raises:
        ConfigurationError: Both or neither of the two are given, or something that has no meaning for texts.
    """
    from pipelines.continue_image_pretraining import stated_flips
    from pipelines.masked_language.training import PretrainingSettings
    from pipelines.siamese.training import ImagePretrainingSettings

    stated = {"seed": config.seed} | {name: value for name, value in given.items() if value is not None}
    if texts is not None and images is None and "least_area" not in stated:
        return texts, PretrainingSettings(**stated)
    if images is None or texts is not None:
        raise _unclear_source(texts, images)
    flips = stated_flips(config.method)
    if flips is None:
        tell("The conf file says flips: auto, which takes labels to find out: no view is flipped.")
    return images, ImagePretrainingSettings(flips=flips or (), **stated)


def _unclear_source(texts: Path | None, images: Path | None) -> ConfigurationError:
    named = [f"--texts {texts}"] * (texts is not None) + [f"--images {images}"] * (images is not None)
    return ConfigurationError(
        got=f"{' and '.join(named)} with --least-area."
        if named == [f"--texts {texts}"]
        else f"{' and '.join(named) or 'neither of the two'}.",
        allowed="--texts FILE for a backbone of texts, or --images FOLDER (and --least-area) for one of images.",
        next_step="give the one that the conf file's backbone is for.",
    )


def continue_workspace_backbone(
    session: Session,
    source: Path,
    out: Path,
    settings: PretrainingSettings | ImagePretrainingSettings,
    progress: Progress,
    tell: Callable[[str], None],
) -> ContinuedPretraining:
    """Leaves what is in the workspace's test split out, waits for the device, and trains.

    Args:
        session: Of the workspace.
        source: The file of texts, or the folder of images.
        out: The new folder.
        settings: How; they say which of the two it is.
        progress: Told of every step.
        tell: Told in words what became of the texts or images.

    Raises:
        ConfigurationError, DataError, IntegrityError, RefusedError: As `pipelines.continue_pretraining.continue_pretraining` and
            `pipelines.continue_image_pretraining.continue_image_pretraining`; or the workspace's data failed its validation, or others hold
            the device.
    """
    from pipelines.continue_image_pretraining import continue_image_pretraining
    from pipelines.continue_pretraining import continue_pretraining
    from pipelines.masked_language.training import PretrainingSettings

    config, given, target = session.config, source.expanduser(), out.expanduser().resolve()
    kind = "text" if isinstance(settings, PretrainingSettings) else "image"
    checkpoints = session.workspace.checkpoints / _name_of(config, given, settings)
    digests = digests_of_test_split(session, progress) if config.task == kind else frozenset[str]()
    done: Continued | ContinuedImages
    with alone_on(config.device, config.operation.device_wait_minutes, f"the continued pretraining of {config.project}"):
        if isinstance(settings, PretrainingSettings):
            done = continue_pretraining(config, given, digests, settings, checkpoints, target, progress, tell)
        else:
            done = continue_image_pretraining(config, given, digests, settings, checkpoints, target, progress, tell)
    return ContinuedPretraining(done, done.conf_lines(session.workspace.root))


def digests_of_test_split(session: Session, progress: Progress) -> frozenset[str]:
    """The `text_digest` of every text of the workspace's test and holdout splits, or the `pixel_digest` of every image.

    Raises:
        DataError: The workspace's data failed its validation.
    """
    from pipelines.dataset import read_samples
    from pipelines.manifest import SAMPLES
    from pipelines.modalities.inspection import read_inputs
    from pipelines.stages import Stages
    from pipelines.validate import raise_for_validation
    from pipelines.versioning.dataset import dataset_version

    stages = Stages(session.workspace, session.config, progress)
    manifest = stages.manifest(dataset_version(session.workspace.root).digest)
    raise_for_validation(stages.validate(manifest).path)
    test = read_samples(stages.split(manifest).path / SAMPLES, "test", "holdout")
    described, inputs = read_inputs(manifest.path)
    whole = frozenset(inputs.loc[inputs["path"].isin({sample.path for sample in test}), described.digest])
    return whole | _digests_of_lines(session.workspace.data, test) if session.config.task == "text" else whole


def _digests_of_lines(data: Path, test: Sequence[Sample]) -> frozenset[str]:
    """Of texts of several lines: a file with a text in each line has them in pieces."""
    from pipelines.dataset import read_sample
    from pipelines.modalities.text_inputs import text_digest

    texts = (read_sample(data, sample).decode("utf-8", "replace") for sample in test)
    return frozenset(text_digest(line) for text in texts if "\n" in text for line in text.splitlines() if line.strip())


def _name_of(config: ProjectConfig, source: Path, settings: BaseModel) -> str:
    """Of the folder of checkpoints: another file, folder or setting does not end what was begun."""
    content: dict[str, JsonValue] = {
        "backbone": config.backbone.model_dump(mode="json"),
        # What is in a folder is a part of the training's own identity.
        "source": file_sha256(source) if source.is_file() else str(source.resolve()),
        "settings": {key: str(value) for key, value in settings.model_dump().items() if key != "minutes"},
    }
    return hashlib.sha256(canonical_json(content)).hexdigest()
