"""From a weights file of timm to the state of a backbone: what is left out, what is adapted, and what is refused.

Never a pickle: only safetensors are parsed, and only after their sha256 was verified.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.core.backbones import BackboneSpec, names_with_classifier
from pipelines.core.errors import IntegrityError
from pipelines.core.text_backbone import TransformersSpec

if TYPE_CHECKING:
    from torch import Tensor, nn

# Torchvision's Inception files carry a second classifier for training, which timm leaves out as well.
_AUXILIARY_HEADS = ("AuxLogits.",)
_N_SHOWN = 8


def read_state(weights: Path) -> dict[str, Tensor]:
    """Reads a safetensors file.

    Raises:
        IntegrityError: It is truncated, or no safetensors file at all, whatever it is called.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state: dict[str, Tensor] = load_file(weights)
    except (SafetensorError, OSError, ValueError, KeyError) as error:
        raise IntegrityError(
            got=f"{weights.name}, {weights.stat().st_size} bytes that are no complete safetensors file: {error}.",
            allowed="a whole file that safetensors.torch.save_file wrote; a pickle does not become one by its name.",
            next_step="fetch the file again and compare its sha256 with its author's; convert other formats where you trust them.",
        ) from error
    return state


def adapted_state(state: dict[str, Tensor], network: nn.Module, spec: BackboneSpec) -> dict[str, Tensor]:
    """What a file of timm, with classifier or without, holds for this backbone.

    The classifier is left out with all that goes with it: auxiliary and distillation heads, and what stands before the last layer only
    where there is a classifier (LeViT, RepViT, MetaFormer). For one input channel the colour filters of the first layer are summed: a grey
    image then gives what its three equal channels gave. Position embeddings of another image size are resampled, as timm does.

    Args:
        state: Of the file.
        network: Of `build_backbone(spec)`.
        spec: The backbone.
    """
    from timm.models import adapt_input_conv

    expected = network.state_dict()
    of_the_head = names_with_classifier(spec) - expected.keys()
    kept = {key: value for key, value in state.items() if key not in of_the_head and not key.startswith(_AUXILIARY_HEADS)}
    for name in _names(_description(network).get("first_conv")):
        key = f"{name}.weight"
        if key in kept and key in expected and kept[key].shape != expected[key].shape and kept[key].ndim == 4:
            kept[key] = adapt_input_conv(spec.in_channels, kept[key])
    return _with_positions(kept, expected, network)


def _description(network: nn.Module) -> dict[str, Any]:
    described: dict[str, Any] = getattr(network, "pretrained_cfg", {})
    return described


def _names(entry: str | Iterable[str] | None) -> tuple[str, ...]:
    return (entry,) if isinstance(entry, str) else tuple(entry or ())


def _with_positions(state: dict[str, Tensor], expected: dict[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    others = {key for key in expected.keys() & state.keys() if state[key].shape != expected[key].shape}
    positions = {key for key in others if "pos" in key.rpartition(".")[2]}
    convert = getattr(sys.modules[type(network).__module__], "checkpoint_filter_fn", None)
    if not positions or convert is None:
        return state
    try:
        converted = convert(dict(state), network)
    # It expects files that fit but for their size; what does not is named, key by key, when it is loaded.
    except (KeyError, RuntimeError, ValueError, AssertionError, TypeError, AttributeError, IndexError):
        return state
    return state | {key: converted[key] for key in positions if key in converted}


def load_strictly(network: nn.Module, state: dict[str, Tensor], spec: BackboneSpec | TransformersSpec) -> None:
    """Loads exactly the tensors of the architecture.

    Raises:
        IntegrityError: A tensor is missing, too many, of another shape or kind, or holds values that are not finite; each is named.
    """
    expected = network.state_dict()
    problems = _misfits(state, expected)
    if problems:
        raise IntegrityError(
            got=f"weights ({spec.origin}) that do not fit {spec.name}: {_some(problems)}.",
            allowed="exactly the tensors of this architecture, its classifier apart.",
            next_step="correct backbone.name, in_channels or model_args in the conf file, or take the weights of this architecture.",
        )
    damaged = [key for key in sorted(expected.keys() & state.keys()) if not bool(state[key].isfinite().all())]
    if damaged:
        raise IntegrityError(
            got=f"weights ({spec.origin}) with NaN or infinite values in {_some(damaged)}.",
            allowed="finite weights.",
            next_step="fetch the file again; if its sha256 is its author's, the training that made it diverged: take other weights.",
        )
    network.load_state_dict(state, strict=False)


def _misfits(state: dict[str, Tensor], expected: dict[str, Tensor]) -> list[str]:
    # A counter that some converters leave out; it has no effect on the output.
    optional = {key for key in expected if key.endswith("num_batches_tracked")}
    common = sorted(expected.keys() & state.keys())
    problems = [f"{key} is missing" for key in sorted(expected.keys() - state.keys() - optional)]
    problems += [f"{key} is not part of it" for key in sorted(state.keys() - expected.keys())]
    problems += [
        f"{key} has shape {list(state[key].shape)} instead of {list(expected[key].shape)}"
        for key in common
        if state[key].shape != expected[key].shape
    ]
    # torch would copy the integers of a quantised file as if they were the weights.
    problems += [
        f"{key} holds {state[key].dtype} instead of {expected[key].dtype}"
        for key in common
        if state[key].is_floating_point() != expected[key].is_floating_point()
    ]
    return problems


def _some(problems: list[str]) -> str:
    return "; ".join(problems[:_N_SHOWN]) + (f"; and {len(problems) - _N_SHOWN} more" if len(problems) > _N_SHOWN else "")
