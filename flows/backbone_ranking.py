"""`regraft backbones rank`: which backbone suits the workspace's data, without training one.

It is stage `select` under a configuration whose candidates come from the command line; features that it computes are there for the next
training.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, Field, ValidationError

from flows.session import Session
from pipelines.config import BestOfBackbones, ShippedBackbone, SingleBackbone, TimmBackbone
from pipelines.config.backbones import without_doubles
from pipelines.config.load import absolute_entry
from pipelines.core.errors import ConfigurationError, RegraftError
from pipelines.progress import Progress

_WEIGHTS = "*.safetensors"


@dataclass(frozen=True)
class BackboneRanking:
    """Candidates, the most promising first.

    Attributes:
        content: Of `ranking.json`, each candidate with its `features_per_second`.
        left_out: Why a file of the folder, or a candidate whose features are not finite, was not ranked, by its name.
    """

    content: dict[str, Any]
    left_out: dict[str, str]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {**self.content, "left_out": self.left_out}


def rank_backbones(
    session: Session, given: Sequence[str], folder: Path | None, n_probed: int | None, progress: Progress
) -> BackboneRanking:
    """Ranks the candidates on the workspace's data.

    Args:
        session: Of the workspace. Where nothing is given, the candidates of its conf file; a single one there is ranked with the shipped.
        given: Each a shipped name, a safetensors file with its description beside it, or a YAML mapping as in a conf file.
        folder: Of such files; those that cannot be used are left out, with the reason.
        n_probed: How many of the best are probed; None: as the conf file says.
        progress: Told of every step.

    Raises:
        ConfigurationError: Fewer than two candidates, or one that was given by itself cannot be used.
        DataError: The workspace's data failed its validation.
    """
    if session.config.task != "image":
        raise _not_of_images(session.config.task)
    found, left_out = _in_folder(folder) if folder else ([], {})
    backbone = session.config.backbone
    configured = list(backbone.candidates) if isinstance(backbone, BestOfBackbones) else [backbone]
    others = [*(parse_candidate(text, session.workspace.root) for text in given), *found]
    if others or not isinstance(backbone, BestOfBackbones):
        others += _shipped()
    entries = [*configured, *others]
    of_images = [entry for entry in entries if isinstance(entry, ShippedBackbone | TimmBackbone)]
    if len(of_images) < len(entries):
        raise _not_of_images(session.config.task)
    chosen = without_doubles(of_images)
    if len(chosen) < 2:
        raise ConfigurationError(
            got=f"{len(chosen)} backbone to rank: {', '.join(entry.name for entry in chosen)}.",
            allowed="at least two.",
            next_step="name others with --candidate FILE.safetensors, or a folder of them with --weights FOLDER.",
        )
    if n_probed is None and isinstance(backbone, BestOfBackbones):
        n_probed = backbone.n_probed
    section = BestOfBackbones(kind="best_of", candidates=tuple(chosen), **({} if n_probed is None else {"n_probed": n_probed}))
    content = _select(session, section, progress)
    refused = {row["backbone"]: row["reason"] for row in content.get("refused", [])}
    return BackboneRanking(content, left_out | refused)


def _not_of_images(task: str) -> ConfigurationError:
    return ConfigurationError(
        got=f"backbones of another kind of input to rank, for task: {task}.",
        allowed="backbones of images.",
        next_step="train with each in turn: regraft retrain --set backbone=…, and compare the reports.",
    )


def _select(session: Session, section: BestOfBackbones, progress: Progress) -> dict[str, Any]:
    from pipelines.stages import Stages
    from pipelines.validate import raise_for_validation
    from pipelines.versioning.dataset import dataset_version

    stages = Stages(session.workspace, session.config.model_copy(update={"backbone": section}), progress)
    manifest = stages.manifest(dataset_version(session.workspace.root).digest)
    raise_for_validation(stages.validate(manifest).path)
    output = stages.select(stages.split(manifest)).path
    content: dict[str, Any] = json.loads((output / "ranking.json").read_bytes())
    speed = json.loads((output / "speed.json").read_bytes())
    rows = [{**row, "features_per_second": speed[row["backbone"]]} for row in content["candidates"]]
    return {**content, "candidates": rows}


def parse_candidate(text: str, workspace: Path) -> SingleBackbone:
    """A candidate of the command line.

    Args:
        text: The name of a shipped backbone, a file relative to the current folder, or a mapping as in a conf file.
        workspace: What `weights` of a mapping is relative to, as in the conf file.

    Raises:
        ConfigurationError: It is none.
    """
    import yaml
    from pydantic import TypeAdapter

    if text.endswith(".safetensors"):
        return described_weights(Path(text).expanduser().absolute())
    if not text.lstrip().startswith("{"):
        return ShippedBackbone(kind="shipped", name=text)
    adapter: TypeAdapter[SingleBackbone] = TypeAdapter(SingleBackbone)
    try:
        return absolute_entry(adapter.validate_python(yaml.safe_load(text)), workspace)
    except (yaml.YAMLError, ValidationError) as error:
        raise ConfigurationError(
            got=f"--candidate {text}: {_first_problem(error)}.",
            allowed="the name of a shipped backbone, a .safetensors file, or a mapping such as {kind: timm, name: resnet18, weights: …}.",
            next_step="correct it; docs/guides/configuration.md lists the keys of backbone.",
        ) from error


def described_weights(weights: Path) -> TimmBackbone:
    """The entry for a weights file, from its name and the JSON file beside it.

    The architecture is the JSON file's `arch`, or what comes before the first dot of the file's name, as the Hub names files;
    `model_args` of the JSON file are the constructor's, and `input_size` tells the number of channels.

    Raises:
        ConfigurationError: Neither names an architecture, or the JSON file is none or says what cannot be.
    """
    from pipelines.core.backbones import is_architecture

    content = _sidecar(weights.with_suffix(".json"))
    named = [arch for arch in (content.arch, content.architecture) if arch is not None]
    name = next((name for name in (*named, weights.name.split(".")[0]) if is_architecture(name)), None)
    if name is None or (named and name not in named):
        raise ConfigurationError(
            got=f"{weights.name}, whose architecture is not known: {', '.join(named) or 'nothing'} is no name of an architecture.",
            allowed="`arch` in the JSON file beside it, or a file name that begins with the architecture and a dot.",
            next_step=f"say it: --candidate '{{kind: timm, name: ARCHITECTURE, weights: {weights}}}'.",
        )
    channels = content.input_size[0]
    try:
        return TimmBackbone(kind="timm", name=name, weights=weights, in_channels=1 if channels == 1 else 3, model_args=content.model_args)
    except ValidationError as error:
        raise _bad_sidecar(weights.with_suffix(".json"), error) from error


def _in_folder(folder: Path) -> tuple[list[SingleBackbone], dict[str, str]]:
    from pipelines.backbones import select_backbone

    files = sorted(folder.expanduser().absolute().glob(_WEIGHTS))
    if not files:
        raise ConfigurationError(
            got=f"--weights {folder}, {'a folder without a .safetensors file' if folder.is_dir() else 'which is no folder'}.",
            allowed="a folder of .safetensors files, each with a JSON file of the same stem that states sha256, mean, std and input_size.",
            next_step="correct the path.",
        )
    found: list[SingleBackbone] = []
    left_out = {}
    for file in files:
        try:
            entry = described_weights(file)
            select_backbone(entry)
            found.append(entry)
        except RegraftError as error:
            left_out[file.name] = error.got
    return found, left_out


class _Sidecar(BaseModel):
    """What is read of the JSON file beside a weights file before its backbone is built; other keys are read elsewhere."""

    arch: str | None = None
    architecture: str | None = None
    input_size: Annotated[tuple[int, ...], Field(min_length=1)] = (3,)
    model_args: dict[str, Any] = {}


def _sidecar(path: Path) -> _Sidecar:
    try:
        return _Sidecar.model_validate_json(path.read_bytes()) if path.is_file() else _Sidecar()
    except ValidationError as error:
        raise _bad_sidecar(path, error) from error


def _bad_sidecar(path: Path, error: ValidationError) -> ConfigurationError:
    return ConfigurationError(
        got=f"{path.name}, the description beside the weights, which cannot be used: {_first_problem(error)}.",
        allowed="a JSON object with sha256, mean, std, input_size (channels first) and, where the file's name does not say it, arch.",
        next_step="correct that file.",
    )


def _shipped() -> list[SingleBackbone]:
    from pipelines.backbone_cards import shipped_cards
    from pipelines.backbones import SHIPPED_FOLDER

    return [ShippedBackbone(kind="shipped", name=name) for name in shipped_cards(SHIPPED_FOLDER)]


def _first_problem(error: Exception) -> str:
    if isinstance(error, ValidationError):
        item = error.errors(include_url=False)[0]
        return f"{'.'.join(map(str, item['loc']))}: {item['msg']}"
    return str(error).splitlines()[0]
