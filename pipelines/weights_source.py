"""Where the weights of a timm network lie and what is said of them: a local safetensors file, or a repository of the Hub at a commit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from pipelines.config import TimmSource
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.hub import hub_files


def _one_or_three(values: tuple[float, ...]) -> tuple[float, ...]:
    if len(values) not in (1, 3):
        raise ValueError(f"{len(values)} values where one for each colour, or one for all, is needed")
    return values


OnePerColour = Annotated[tuple[float, ...], AfterValidator(_one_or_three)]


class WeightsDescription(BaseModel):
    """What the JSON file beside a weights file, or the Hub's `config.json`, says of them; other keys are the author's own."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    mean: OnePerColour | None = None
    std: OnePerColour | None = None
    input_size: tuple[int, int, int] | None = None
    crop_pct: Annotated[float, Field(gt=0, le=1)] | None = None
    interpolation: str | None = None
    pad_type: str | None = None
    sha256: str | None = None
    licence: str | None = None


def located_weights(config: TimmSource) -> tuple[Path, WeightsDescription]:
    """The weights file of a conf entry and what is said of it; fetched, where it lies on the Hub.

    Raises:
        ConfigurationError: There is no such file, or none that is safe to read, or its description cannot be read.
    """
    if config.hub is not None:
        return _from_hub(config)
    weights = Path(str(config.weights)).expanduser()
    if not weights.is_file() or weights.suffix != ".safetensors":
        raise ConfigurationError(
            got=f"backbone.weights {weights}, which is {'no safetensors file' if weights.exists() else 'not there'}.",
            allowed="a file that ends in .safetensors (never a pickle: loading one runs the code in it).",
            next_step="correct the path; convert other formats with safetensors.torch.save_file.",
        )
    sidecar = weights.with_suffix(".json")
    description = _read_description(sidecar, sidecar.read_bytes()) if sidecar.is_file() else WeightsDescription()
    return weights, description.model_copy(update={"sha256": config.sha256}) if config.sha256 else description


def _from_hub(config: TimmSource) -> tuple[Path, WeightsDescription]:
    weights, described = hub_files("backbone", config.hub, config.revision, ("model.safetensors", "config.json"), "weights")
    content = json.loads(described.read_bytes()).get("pretrained_cfg", {})
    description = _read_description(described, json.dumps(content).encode())
    # A commit id names its content, so the hash of what came is the hash it must keep unless the conf file states one.
    return weights, description.model_copy(update={"sha256": config.sha256 or file_sha256(weights), "licence": content.get("license")})


def _read_description(path: Path, content: bytes) -> WeightsDescription:
    try:
        return WeightsDescription.model_validate_json(content)
    except ValidationError as error:
        raise ConfigurationError(
            got=f"{path.name}, the description beside the weights, which cannot be read: {error.errors()[0]['msg']}.",
            allowed="JSON with mean, std, input_size, crop_pct, pad_type, sha256, licence.",
            next_step="correct that file, or remove it and give preprocess and sha256 in the conf file.",
        ) from error


def verified_sha256(weights: Path, description: WeightsDescription) -> str:
    """The sha256 of a weights file.

    Raises:
        ConfigurationError: Nothing states which one it must have.
        IntegrityError: It is another one.
    """
    actual = file_sha256(weights)
    if description.sha256 is None:
        raise ConfigurationError(
            got=f"backbone.weights {weights.name} without a sha256 that it must have.",
            allowed="weights whose sha256 is stated in the conf file or in a JSON file of the same stem beside them.",
            next_step=f"if you trust this very file, add `sha256: {actual}` to backbone in the conf file.",
        )
    if actual != description.sha256:
        raise IntegrityError(
            got=f"{weights.name} with sha256 {actual}.",
            allowed=f"the stated sha256 {description.sha256}.",
            next_step="fetch the file again; if it was replaced on purpose, state its new sha256.",
        )
    return actual
