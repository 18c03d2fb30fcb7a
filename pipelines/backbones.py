"""The table of backbone sources: from a conf entry to an architecture, its preprocessing and verified weights.

    shipped   a card and weights in `backbones/`
    timm      a local safetensors file with its sha256, or a repository of the Hugging Face Hub at a pinned commit
    spectrogram    the same over patches of spectrograms, for sounds
    transformers   for texts; see `pipelines.transformer_files`

Stage `select` writes the choice as `backbone.json`, of a text backbone with its tokeniser beside it; stage `train` loads the weights it
names.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue, ValidationError

from pipelines.backbone_cards import load_shipped, shipped_cards
from pipelines.backbone_features import feature_width, refuse_no_text_model
from pipelines.backbone_weights import adapted_state, load_strictly, read_state
from pipelines.config import (
    Backbone,
    BestOfBackbones,
    ShippedBackbone,
    SingleBackbone,
    SpectrogramBackbone,
    TimmBackbone,
    TimmSource,
    TransformersBackbone,
)
from pipelines.core.backbones import BackboneSpec, architecture_names, build_backbone
from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.core.preprocess import ImagePreprocess
from pipelines.core.text_backbone import TransformersSpec
from pipelines.selected_backbone import SelectedBackbone
from pipelines.training.regularisation import build_with_drop_path
from pipelines.transformer_files import described, load_transformer, located, verify
from pipelines.weights_source import WeightsDescription, located_weights, verified_sha256

if TYPE_CHECKING:
    import torch
    from torch import nn

SHIPPED_FOLDER = Path(__file__).resolve().parent.parent / "backbones"


def source_description(config: SingleBackbone) -> dict[str, JsonValue]:
    """All that decides what `select_backbone` resolves besides the conf entry, without importing torch and wherever the files lie.

    Returns:
        A shipped card's architecture and preprocessing; or the weights' sha256 with what the file beside them says.

    Raises:
        ConfigurationError: There is no such file or shipped backbone, or nothing states the sha256 that the file must have.
        IntegrityError: The file's sha256 is another one.
    """
    if isinstance(config, ShippedBackbone):
        cards = shipped_cards(SHIPPED_FOLDER)
        if config.name not in cards:
            load_shipped(config.name, SHIPPED_FOLDER)  # raises, and lists the names that exist
        return cards[config.name].model_dump(mode="json", include={"spec", "preprocess"})
    if isinstance(config, TransformersBackbone):
        _, text_spec, text_preprocess = described(config)
        return {"spec": text_spec.model_dump(mode="json"), "preprocess": text_preprocess.model_dump(mode="json")}
    weights, description = located_weights(config)
    # The name is the origin that the bundle states.
    return {**description.model_dump(mode="json"), "sha256": verified_sha256(weights, description), "file": weights.name}


def select_backbone(config: SingleBackbone) -> SelectedBackbone:
    """Resolves a conf entry into an architecture and its preprocessing, once; the bundle stores both.

    Raises:
        ConfigurationError: Unknown name, missing file, a preprocessing that Regraft does not have, or an architecture that does not turn
            such images into features [b, d].
        IntegrityError: The weights' sha256 does not match, the file is damaged, or its tensors do not fit.
    """
    if isinstance(config, ShippedBackbone):
        card, _ = load_shipped(config.name, SHIPPED_FOLDER)
        return SelectedBackbone(spec=card.spec, preprocess=card.preprocess)
    if isinstance(config, TransformersBackbone):
        return _select_transformer(config)
    return _select_timm(config)


def _select_timm(config: TimmBackbone | SpectrogramBackbone) -> SelectedBackbone:
    weights, description = located_weights(config)
    spec = BackboneSpec(
        name=config.name,
        in_channels=config.in_channels if isinstance(config, TimmBackbone) else 1,
        model_args=({"pad_type": description.pad_type} if description.pad_type else {}) | config.model_args,
        origin=f"{config.hub}@{config.revision}" if config.hub else weights.name,
        weights_sha256=verified_sha256(weights, description),
        licence=description.licence or "unknown",
        pools_patches=isinstance(config, SpectrogramBackbone),
    )
    network = build_backbone(spec)  # an unknown name first: timm's description of it is asked for next
    preprocess = config.preprocess if isinstance(config, SpectrogramBackbone) else _image_preprocess(config, spec, description)
    _load_timm(config, spec, network)
    feature_width(network, spec, preprocess)  # says here what does not fit, not after hours
    return SelectedBackbone(spec=spec, preprocess=preprocess)


def _load_timm(config: ShippedBackbone | TimmSource, spec: BackboneSpec, network: nn.Module) -> None:
    from pipelines.core.patch_pooling import network_of_patches

    inner = network_of_patches(network)
    state = load_shipped(config.name, SHIPPED_FOLDER)[1] if isinstance(config, ShippedBackbone) else _timm_state(config, spec, inner)
    load_strictly(inner, state, spec)


def _select_transformer(config: TransformersBackbone) -> SelectedBackbone:
    files, spec, preprocess = described(config)
    network = load_transformer(files, spec)
    refuse_no_text_model(network, spec.name)
    feature_width(network, spec, preprocess)  # says here that it has fewer positions than max_tokens
    return SelectedBackbone(spec=spec, preprocess=preprocess).beside(files.tokenizer.parent)


def _image_preprocess(config: TimmBackbone, spec: BackboneSpec, description: WeightsDescription) -> ImagePreprocess:
    preprocess = config.preprocess or _preprocess(config, description)
    if preprocess.n_channels != spec.in_channels:
        raise ConfigurationError(
            got=f"backbone.preprocess.color {preprocess.color} with backbone.in_channels {spec.in_channels}.",
            allowed="L with in_channels 1, or RGB with in_channels 3.",
            next_step="correct one of the two in the conf file.",
        )
    return preprocess


def entry_of(config: Backbone, selected: SelectedBackbone) -> SingleBackbone:
    """The conf entry that `selected` was made of."""
    return config.candidates[selected.candidate] if isinstance(config, BestOfBackbones) else config


def load_backbone(config: SingleBackbone, selected: SelectedBackbone, drop_path: float = 0.0) -> nn.Module:
    """Builds the selected architecture with its pretrained weights: [b, c, h, w], of patches [b, p, c, h, w], of texts [b, l] -> [b, d].

    Args:
        config: The conf entry.
        selected: What stage `select` made of it.
        drop_path: Stochastic depth while training, in [0, 1).

    Raises:
        ConfigurationError: The architecture has no stochastic depth.
        IntegrityError: The weights do not match their sha256, or do not fit: the keys and shapes are named.
    """
    if isinstance(config, TransformersBackbone) or isinstance(selected.spec, TransformersSpec):
        return _load_transformer(config, selected)
    network = build_with_drop_path(selected.spec, drop_path)
    _load_timm(config, selected.spec, network)
    return network


def _load_transformer(config: SingleBackbone, selected: SelectedBackbone) -> nn.Module:
    if not (isinstance(config, TransformersBackbone) and isinstance(selected.spec, TransformersSpec)):
        raise IntegrityError(
            got=f"backbone.json of a {selected.spec.kind} backbone beside a conf entry of kind {config.kind}.",
            allowed="the backbone that this conf entry was resolved to.",
            next_step="run `regraft retrain` again: it selects the backbone anew.",
        )
    # What was selected is what must be loaded, whatever lies there now.
    files = replace(located(config), weights_sha256=str(selected.spec.weights_sha256))
    verify(files.weights, files.weights_sha256)
    return load_transformer(files, selected.spec)


def _timm_state(config: TimmSource, spec: BackboneSpec, network: nn.Module) -> dict[str, torch.Tensor]:
    weights, description = located_weights(config)
    # The Hub's files state no sha256 of their own: what was selected is what must be loaded.
    verified_sha256(weights, description.model_copy(update={"sha256": spec.weights_sha256}))
    return adapted_state(read_state(weights), network, spec)


def _preprocess(config: TimmBackbone, description: WeightsDescription) -> ImagePreprocess:
    from timm.data import resolve_data_config
    from timm.models import get_pretrained_cfg

    stated = description.model_dump(include={"mean", "std", "input_size", "crop_pct", "interpolation"}, exclude_none=True)
    if isinstance(side_px := config.model_args.get("img_size"), int):
        stated["input_size"] = (3, side_px, side_px)  # what the network is built for
    elif description.input_size:
        stated["input_size"] = (3, *description.input_size[1:])  # timm would count the colours of mean and std by it
    default = get_pretrained_cfg(config.name)
    resolved = resolve_data_config(stated, pretrained_cfg=default.to_dict() if default else {})
    if resolved["crop_mode"] not in ("center", "squash"):
        raise ConfigurationError(
            got=f"{config.name} with timm's crop_mode {resolved['crop_mode']!r}.",
            allowed="center or squash.",
            next_step="state backbone.preprocess in the conf file.",
        )
    try:
        return _as_preprocess(resolved, grey=config.in_channels == 1)
    except ValidationError as error:
        problem = error.errors()[0]
        raise ConfigurationError(
            got=f"a description of the weights of {config.name} that gives no preprocessing: {problem['msg']} (got {problem['input']!r}).",
            allowed="one mean and std for each colour, 8 to 2048 px, nearest, bilinear, bicubic or lanczos.",
            next_step="state backbone.preprocess in the conf file, or correct the JSON file beside the weights.",
        ) from error


def _as_preprocess(resolved: dict[str, Any], grey: bool) -> ImagePreprocess:
    mean, std = tuple(resolved["mean"]), tuple(resolved["std"])
    return ImagePreprocess(
        color="L" if grey else "RGB",
        height_px=resolved["input_size"][1],
        width_px=resolved["input_size"][2],
        fit="squash" if resolved["crop_mode"] == "squash" else "crop",
        crop_frac=1.0 if resolved["crop_mode"] == "squash" else resolved["crop_pct"],
        interpolation=resolved["interpolation"],
        mean=(sum(mean) / len(mean),) if grey else mean,
        std=(sum(std) / len(std),) if grey else std,
        jpeg_draft=True,
    )


def list_backbones(pattern: str) -> dict[str, list[str]]:
    """Names by kind: the shipped ones, and timm's architectures.

    Args:
        pattern: As in a shell; a text without a star finds every name that contains it.
    """
    import fnmatch

    wanted = pattern if "*" in pattern else f"*{pattern}*"
    return {"shipped": fnmatch.filter(sorted(shipped_cards(SHIPPED_FOLDER)), wanted), "timm": architecture_names(wanted)}
