"""The bundle: the one directory that ships. Its format, its hashes, and how it is written in one step.

    bundle.json               the manifest below; its own sha256 is the bundle's id
    weights.safetensors       backbone.* and head.*
    projection.safetensors    `projection` [d, e]: features to the compact embedding that is logged
    reference.safetensors     drift reference from test samples: `embeddings` [n, e], `probabilities` [n, k],
                              `statistics` [n, s], `correct` [n] (0 or 1), `labels` [n] (index) or, where a sample
                              has any number of labels, [n, k] (0 or 1)
    goldens.json, goldens/    raw sample files and the probabilities that this bundle must give for them
    lineage.json              what made it: data and split digests, configuration, seeds, versions
    card.md                   model card
    tokenizer.json            of a text backbone: what makes tokens of a text

Nothing in it depends on the time or the machine's paths, so the same inputs give the same id.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError, model_validator

from pipelines.core.backbones import AnyBackboneSpec
from pipelines.core.errors import IntegrityError
from pipelines.core.label_sets import LabelsPerSample
from pipelines.core.modalities.adapters import Preprocess

MANIFEST = "bundle.json"
FORMAT_VERSION: Literal[1] = 1
# Left out where a sample has one label: they say nothing there, and give no bundle another id.
_ONLY_OF_MANY = ("labels_per_sample", "thresholds")


class Golden(BaseModel):
    """One stored input and the answer that the bundle must give for it.

    Attributes:
        file: Name below `goldens/`.
        label: The predicted label; the text of the predicted set where a sample has any number of labels.
        probabilities: One per label, in the manifest's order.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    file: Annotated[str, Field(pattern=r"^[0-9a-f]{16}\.bin$")]
    label: str
    probabilities: tuple[float, ...]


class BundleManifest(BaseModel):
    """What a bundle is made of.

    Attributes:
        task: Which modality it is for: the `kind` of `preprocess`.
        labels: In the order of the head's outputs.
        labels_per_sample: `many`: the labels do not exclude each other, a sample has any number of them.
        thresholds: One for each label; with `many` a sample is said to have the labels whose probabilities reach theirs.
        temperature: Divides the logits.
        golden_tolerance: Largest allowed difference of a probability between the goldens and a replay on another machine.
        files: sha256 of every other file of the bundle, by its name relative to the bundle.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    format_version: Literal[1] = FORMAT_VERSION
    project: str
    task: Literal["image", "text", "audio"]
    labels: Annotated[tuple[str, ...], Field(min_length=2)]
    backbone: AnyBackboneSpec
    preprocess: Preprocess
    labels_per_sample: LabelsPerSample = "one"
    thresholds: tuple[Annotated[float, Field(gt=0, lt=1)], ...] | None = None
    temperature: Annotated[float, Field(gt=0)]
    golden_tolerance: Annotated[float, Field(gt=0)] = 1e-4
    files: dict[str, str]

    @model_validator(mode="after")
    def _one_modality(self) -> BundleManifest:
        if self.task != self.preprocess.kind:
            raise ValueError(f"a task {self.task} whose preprocess spec is for {self.preprocess.kind}")
        return self

    @model_validator(mode="after")
    def _thresholds_fit(self) -> BundleManifest:
        n_needed = len(self.labels) if self.labels_per_sample == "many" else None
        n_found = None if self.thresholds is None else len(self.thresholds)
        if n_found != n_needed:
            raise ValueError(f"thresholds: {n_found} for {len(self.labels)} labels, {self.labels_per_sample} per sample")
        return self


def bundle_id(manifest_bytes: bytes) -> str:
    """The bundle's name: the first 16 hex digits of the sha256 of its manifest, which holds the hashes of all the rest."""
    return hashlib.sha256(manifest_bytes).hexdigest()[:16]


def file_sha256(path: Path) -> str:
    """sha256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def canonical_json(value: JsonValue) -> bytes:
    """JSON with sorted keys and no optional spaces: the same value always gives the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def seal(staging: Path, manifest: BundleManifest) -> str:
    """Writes the manifest, with the hashes of all files in `staging`, and returns the bundle's id.

    Args:
        staging: A directory with every file of the bundle but the manifest.
        manifest: Its `files` are replaced.
    """
    names = sorted(str(path.relative_to(staging)) for path in staging.rglob("*") if path.is_file() and path.name != MANIFEST)
    sealed = manifest.model_copy(update={"files": {name: file_sha256(staging / name) for name in names}})
    absent = set(_ONLY_OF_MANY) if sealed.labels_per_sample == "one" else set()
    data = canonical_json(sealed.model_dump(mode="json", exclude=absent))
    (staging / MANIFEST).write_bytes(data)
    return bundle_id(data)


def read_manifest(bundle: Path) -> tuple[BundleManifest, str]:
    """Reads a bundle's manifest without checking its files.

    Returns:
        The manifest and the bundle's id.

    Raises:
        IntegrityError: There is no manifest, or it is not one of this format.
    """
    path = bundle / MANIFEST
    try:
        data = path.read_bytes()
        return BundleManifest.model_validate_json(data), bundle_id(data)
    except (OSError, ValidationError) as error:
        raise IntegrityError(
            got=f"{bundle.name}/{MANIFEST} that cannot be read as a bundle manifest: {error}.",
            allowed=f"a bundle of format {FORMAT_VERSION}.",
            next_step="restore the bundle with `dvc checkout`, or package it again with `regraft retrain`.",
        ) from error


def verify_files(bundle: Path, manifest: BundleManifest) -> None:
    """Compares every file with its recorded hash.

    Raises:
        IntegrityError: Names each file that is missing, changed or unexpected.
    """
    present = {str(path.relative_to(bundle)) for path in bundle.rglob("*") if path.is_file()} - {MANIFEST}
    problems = [f"{name} is missing" for name in sorted(manifest.files.keys() - present)]
    problems += [f"{name} is not in the manifest" for name in sorted(present - manifest.files.keys())]
    problems += [
        f"{name} changed" for name in sorted(present & manifest.files.keys()) if file_sha256(bundle / name) != manifest.files[name]
    ]
    if problems:
        raise IntegrityError(
            got=f"bundle {bundle.name} whose files differ from its manifest: {'; '.join(problems)}.",
            allowed="exactly the files that were sealed.",
            next_step="restore the bundle with `dvc checkout`, or promote another version with `regraft rollback`.",
        )


def install_directory(staging: Path, target: Path) -> None:
    """Moves a finished directory into place in one step; a crash leaves either nothing or all of it.

    If `target` is there already it is kept: a content-addressed place never changes.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    try:
        staging.rename(target)
    except OSError:
        if not target.is_dir():
            raise
        shutil.rmtree(staging)
