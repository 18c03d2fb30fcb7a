"""A backbone's architecture as data, and how it is built again without network and without training code."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.core.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import nn

ModelArgument = bool | int | float | str | tuple[bool | int | float | str, ...] | None


class BackboneSpec(BaseModel):
    """The architecture of a backbone and the origin of its weights.

    Attributes:
        name: The library's name of the architecture, for example `resnet18`.
        in_channels: Channels of the input.
        model_args: Further arguments of the library's constructor, for example `{"pad_type": "same"}`.
        origin: Where the weights came from: a shipped card, a file's name, or repository@revision. Never a path of a machine.
        weights_sha256: Of the pretrained weights file; None only for an untrained backbone.
        licence: Of the pretrained weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["timm"] = "timm"
    name: str
    in_channels: Annotated[int, Field(ge=1, le=16)]
    model_args: dict[str, ModelArgument] = {}
    origin: str
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    licence: str = "unknown"


def build_backbone(spec: BackboneSpec) -> nn.Module:
    """Builds the architecture, untrained, without its classifier: [b, c, h, w] -> features [b, d] (d: `num_features`).

    Raises:
        ConfigurationError: timm has no such architecture (the nearest names are listed), or refuses an argument.
    """
    import timm

    if not timm.is_model(spec.name):
        raise ConfigurationError(
            got=f"the backbone name {spec.name!r}.",
            allowed=f"a name that timm knows; the nearest are {', '.join(_nearest_names(spec.name))}.",
            next_step="correct backbone.name in the conf file, or list the names with `regraft backbones list`.",
        )
    try:
        network: nn.Module = timm.create_model(
            spec.name, pretrained=False, in_chans=spec.in_channels, num_classes=0, **_as_tuples(spec.model_args)
        )
    except TypeError as error:
        raise ConfigurationError(
            got=f"backbone.model_args {sorted(spec.model_args)} for {spec.name}: {error}.",
            allowed="arguments that this architecture's constructor takes.",
            next_step="correct or remove backbone.model_args in the conf file.",
        ) from error
    return network


def _as_tuples(arguments: dict[str, ModelArgument]) -> dict[str, ModelArgument]:
    return {key: tuple(value) if isinstance(value, list | tuple) else value for key, value in arguments.items()}


def _nearest_names(name: str) -> list[str]:
    import difflib

    import timm

    return difflib.get_close_matches(name, timm.list_models(), n=5, cutoff=0.3)
