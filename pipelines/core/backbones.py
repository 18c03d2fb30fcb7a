"""A backbone's architecture as data, and how it is built again without network and without training code."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from pipelines.core.errors import ConfigurationError
from pipelines.core.text_backbone import TransformersSpec, build_text_backbone

if TYPE_CHECKING:
    from torch import nn

ModelArgument = bool | int | float | str | tuple[bool | int | float | str, ...] | None

# Widths of MobileNetV1 that Google published and timm builds, but has no names for.
_MOBILENET_V1_WIDTHS = {"mobilenetv1_025": 0.25, "mobilenetv1_050": 0.5, "mobilenetv1_075": 0.75}
# What constructors raise for arguments that they do not have or cannot use; most check with assert.
_CONSTRUCTOR_ERRORS = (TypeError, ValueError, AssertionError, KeyError, AttributeError, IndexError, RuntimeError, ArithmeticError)
# timm would load files, fetch from the network or give another kind of network for these.
_RESERVED_ARGUMENTS = frozenset(
    {
        *("pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "pretrained_model_args", "checkpoint_path", "cache_dir"),
        *("in_chans", "num_classes", "features_only", "scriptable", "exportable", "no_jit", "device", "dtype"),
    }
)


class BackboneSpec(BaseModel):
    """The architecture of a backbone of timm and the origin of its weights.

    Attributes:
        name: The library's name of the architecture, for example `resnet18`.
        in_channels: Channels of the input.
        model_args: Further arguments of the library's constructor, for example `{"pad_type": "same"}`.
        origin: Where the weights came from: a shipped card, a file's name, or repository@revision. Never a path of a machine.
        weights_sha256: Of the pretrained weights file; None only for an untrained backbone.
        licence: Of the pretrained weights.
        pools_patches: Whether an input is several patches, of whose features the mean is taken: a sound's spectrograms.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["timm"] = "timm"
    name: str
    in_channels: Annotated[int, Field(ge=1, le=16)]
    model_args: dict[str, ModelArgument] = {}
    origin: str
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    licence: str = "unknown"
    pools_patches: bool = False


AnyBackboneSpec = Annotated[BackboneSpec | TransformersSpec, Field(discriminator="kind")]


def build_backbone(spec: BackboneSpec | TransformersSpec) -> nn.Module:
    """Builds the architecture, untrained, without its classifier: [b, c, h, w], [b, p, c, h, w] or, of texts, [b, l] -> features [b, d].

    d is timm's `head_hidden_size`, which for a VGG, a MobileNetV3 and others is not `num_features`.

    Raises:
        ConfigurationError: timm has no such architecture (the nearest names are listed), or refuses an argument; or as
            `build_text_backbone`.
    """
    if isinstance(spec, TransformersSpec):
        return build_text_backbone(spec)
    if not is_architecture(spec.name):
        raise ConfigurationError(
            got=f"the backbone name {spec.name!r}.",
            allowed=f"a name that timm knows; the nearest are {', '.join(_nearest_names(spec.name))}.",
            next_step="correct backbone.name in the conf file, or list the names with `regraft backbones list`.",
        )
    _refuse_reserved(spec)
    try:
        network = _create(spec, n_classes=0)
    except _CONSTRUCTOR_ERRORS as error:
        raise ConfigurationError(
            got=f"backbone.model_args {spec.model_args} and {spec.in_channels} input channels for {spec.name}: {_reason(error)}.",
            allowed="arguments that this architecture's constructor takes.",
            next_step="correct or remove backbone.model_args in the conf file, or take another architecture.",
        ) from error
    return _pooling(network) if spec.pools_patches else network


def _pooling(network: nn.Module) -> nn.Module:
    from pipelines.core.patch_pooling import PatchPooling

    return PatchPooling(network)


def _reason(error: Exception) -> str:
    # Much of timm checks with a bare assert, and a KeyError's text is its key.
    return f"{type(error).__name__}{f': {error}' if str(error) else ''}".rstrip(".")


def is_architecture(name: str) -> bool:
    """Whether `build_backbone` knows the name."""
    import timm

    return name in _MOBILENET_V1_WIDTHS or timm.is_model(name)


def architecture_names(pattern: str = "*") -> list[str]:
    """The names that `build_backbone` knows, as a shell's pattern selects them."""
    import fnmatch

    import timm

    return sorted([*timm.list_models(pattern), *fnmatch.filter(_MOBILENET_V1_WIDTHS, pattern)])


def names_with_classifier(spec: BackboneSpec) -> frozenset[str]:
    """Names of the architecture's tensors with its classifier: what a file may hold besides the backbone's."""
    return _names_with_classifier(spec.model_dump_json())


@functools.cache
def _names_with_classifier(spec_json: str) -> frozenset[str]:
    # Kept, since a training loads the same architecture several times and timm takes its time to build one.
    import torch

    with torch.device("meta"):
        return frozenset(_create(BackboneSpec.model_validate_json(spec_json), n_classes=2).state_dict())


def _create(spec: BackboneSpec, n_classes: int) -> nn.Module:
    import timm

    arguments: dict[str, Any] = {"in_chans": spec.in_channels, "num_classes": n_classes} | _as_tuples(spec.model_args)
    if spec.name in _MOBILENET_V1_WIDTHS:
        from timm.models.efficientnet import _gen_mobilenet_v1

        narrow: nn.Module = _gen_mobilenet_v1("mobilenetv1_100", channel_multiplier=_MOBILENET_V1_WIDTHS[spec.name], **arguments)
        return narrow
    network: nn.Module = timm.create_model(spec.name, pretrained=False, **arguments)
    return network


def _refuse_reserved(spec: BackboneSpec) -> None:
    reserved = sorted(spec.model_args.keys() & _RESERVED_ARGUMENTS)
    if reserved:
        raise ConfigurationError(
            got=f"backbone.model_args with {', '.join(reserved)} for {spec.name}.",
            allowed="arguments that change the architecture; weights, channels, classes and device are set elsewhere.",
            next_step="remove them from model_args: the conf file has backbone.weights, backbone.in_channels, labels and device.",
        )


def _as_tuples(arguments: dict[str, ModelArgument]) -> dict[str, ModelArgument]:
    return {key: tuple(value) if isinstance(value, list | tuple) else value for key, value in arguments.items()}


def _nearest_names(name: str) -> list[str]:
    import difflib

    return difflib.get_close_matches(name, architecture_names(), n=5, cutoff=0.3)
