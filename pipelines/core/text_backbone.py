"""A transformer of the library transformers as a backbone of texts: what is stored of its architecture, and how it is built again.

Encoders (BERT and its kin) and decoders (GPT-2 and its kin). The architecture is the library's own class for the `model_type`; code that a
repository brings along is never run. Letters for shapes: b batch, l token ids, d features.
"""

from __future__ import annotations

import inspect
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, JsonValue

from pipelines.core.errors import ConfigurationError

if TYPE_CHECKING:
    from torch import nn

Pooling = Literal["mean", "cls", "last_token"]
# What constructors of the library raise for configurations that they cannot use.
_CONSTRUCTOR_ERRORS = (TypeError, ValueError, AssertionError, KeyError, AttributeError, IndexError, RuntimeError, ArithmeticError, OSError)
# Where something came from or how it was run: no part of an architecture. `auto_map` names code of a repository, which is never run.
NOT_ARCHITECTURE = frozenset(
    {
        *("_name_or_path", "transformers_version", "architectures", "auto_map", "torch_dtype", "dtype", "use_cache", "model_type"),
        *("gradient_checkpointing", "_attn_implementation", "attn_implementation", "id2label", "label2id", "problem_type"),
        *("output_attentions", "output_hidden_states", "return_dict", "quantization_config", "task_specific_params"),
    }
)


class TransformersSpec(BaseModel):
    """The architecture of a transformer and the origin of its weights.

    Attributes:
        name: The library's `model_type`, for example `bert` or `gpt2`.
        config: What `config.json` says of the architecture.
        pooling: How a text's features come of its tokens': their mean, the first one, or the last one.
        origin: Where the weights came from: a package, a folder's name, or repository@revision. Never a path of a machine.
        weights_sha256: Of model.safetensors; None only for an untrained backbone.
        licence: Of the pretrained weights.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["transformers"] = "transformers"
    name: str
    config: dict[str, JsonValue]
    pooling: Pooling
    origin: str
    weights_sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None
    licence: str = "unknown"


def build_text_backbone(spec: TransformersSpec) -> nn.Module:
    """Builds the architecture, untrained: int64 [b, l] with -1 as padding at the end -> features [b, d].

    Raises:
        ConfigurationError: The library has no such architecture, it is none that reads ids into one row of states, or it refuses the
            configuration.
    """
    from pipelines.core.text_network import TextNetwork

    try:
        return TextNetwork(_build_model(spec), spec.pooling)
    except constructor_errors() as error:
        raise ConfigurationError(
            got=f"config.json of a {spec.name}, which the library transformers cannot build: {type(error).__name__}: {error}.".rstrip("."),
            allowed="a configuration that this version of the library takes.",
            next_step="take the config.json that belongs to the weights.",
        ) from error


def constructor_errors() -> tuple[type[Exception], ...]:
    """What the library's constructors raise for configurations that they cannot use."""
    from huggingface_hub.errors import StrictDataclassError  # of values of another type; it is none of Python's own

    return (*_CONSTRUCTOR_ERRORS, StrictDataclassError)


def _build_model(spec: TransformersSpec) -> Any:
    from transformers import CONFIG_MAPPING, MODEL_MAPPING

    if spec.name not in CONFIG_MAPPING:
        raise no_text_model(spec.name)
    stated: dict[str, Any] = {key: value for key, value in spec.config.items() if key not in NOT_ARCHITECTURE}
    config = CONFIG_MAPPING[spec.name](**stated)
    if config.is_encoder_decoder or type(config) not in MODEL_MAPPING:
        raise no_text_model(spec.name)
    # Keys and values are kept for a next token, and there is none.
    config.use_cache = False
    model_class: Any = MODEL_MAPPING[type(config)]
    if "input_ids" not in inspect.signature(model_class.forward).parameters:
        raise no_text_model(spec.name)
    # Stated, not left to what a machine has: others differ in the last bits.
    config._attn_implementation = "sdpa" if model_class._supports_sdpa else "eager"
    # A pooler is a head for the task of the pretraining; what `pooling` says takes its place.
    without_pooler = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(model_class).parameters else {}
    return model_class(config, **without_pooler)


def no_text_model(name: str, reason: str = "") -> ConfigurationError:
    """What is said of an architecture that cannot be asked with token ids alone."""
    return ConfigurationError(
        got=f"a backbone of the model_type {name!r}" + (f", which does not read two token ids: {reason}." if reason else "."),
        allowed="an encoder or a decoder of texts that the library transformers has itself, such as bert, distilbert, roberta or gpt2.",
        next_step="take another model; code that comes with a repository (trust_remote_code) is never run.",
    )
