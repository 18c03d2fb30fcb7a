"""From a backbone's files to a masked language model, and back to files that a conf file can name."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from pipelines.backbone_weights import read_state
from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.core.modalities.text import TOKENIZER_FILE
from pipelines.core.text_backbone import TransformersSpec
from pipelines.training.batches import stateless_seed
from pipelines.training.regularisation import seeded_layers
from pipelines.transformer_files import CONFIG, WEIGHTS, TransformerFiles, load_transformer, modern_name

if TYPE_CHECKING:
    from torch import Tensor, nn

    from pipelines.masked_language.network import LanguageModel

RECORD = "continued_pretraining.json"


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A language model to go on with.

    Attributes:
        network: With the backbone's own weights.
        has_new_head: Whether its head is not of the files but new, drawn by a seed.
    """

    network: LanguageModel
    has_new_head: bool

    @property
    def head(self) -> list[nn.Parameter]:
        """Parameters of the head alone; what it shares with the embeddings is theirs."""
        of_base = {id(parameter) for parameter in self.network.base.parameters()}
        return [parameter for parameter in self.network.parameters() if id(parameter) not in of_base]


def load_language_model(files: TransformerFiles, spec: TransformersSpec, seed: int) -> LoadedModel:
    """Builds the library's own class for masked language modelling with the backbone's weights and, where the files have one, their head.

    Args:
        files: Verified.
        spec: What they hold.
        seed: Of a new head; what it shares with the embeddings is not new.

    Raises:
        ConfigurationError: The library has no such class for this architecture, as for decoders.
        IntegrityError: The weights do not fit.
    """
    from transformers import MODEL_FOR_MASKED_LM_MAPPING

    from pipelines.masked_language.network import LanguageModel

    backbone: Any = load_transformer(files, spec)
    config = backbone.model.config
    if type(config) not in MODEL_FOR_MASKED_LM_MAPPING:
        raise _no_masked_model(spec.name)
    model_class: Any = MODEL_FOR_MASKED_LM_MAPPING[type(config)]
    with seeded_layers(stateless_seed("language model head", seed), "cpu"):
        network = LanguageModel(model_class(config))
    network.base.load_state_dict(backbone.model.state_dict())
    stated = _head_of({modern_name(name): tensor for name, tensor in read_state(files.weights).items()}, network)
    _refuse_misfits(stated, network.model.state_dict(), spec)
    if stated:
        network.model.load_state_dict(stated, strict=False)
    return LoadedModel(network, has_new_head=not stated)


def _refuse_misfits(head: Mapping[str, Tensor], expected: Mapping[str, Tensor], spec: TransformersSpec) -> None:
    unfit = [name for name, tensor in head.items() if tensor.shape != expected[name].shape or not bool(tensor.isfinite().all())]
    if unfit:
        raise IntegrityError(
            got=f"weights ({spec.origin}) whose head for masked language modelling does not fit {spec.name}: {', '.join(unfit)}.",
            allowed="finite tensors of the shapes of this architecture.",
            next_step="fetch the file again, or take the config.json that belongs to it.",
        )


def _head_of(state: Mapping[str, Tensor], network: LanguageModel) -> dict[str, Tensor]:
    """The head's tensors of a file, where it has all of them, each under one of its names; nothing otherwise."""
    base = {tensor.data_ptr() for tensor in network.base.state_dict().values()}
    names: dict[int, list[str]] = {}
    for name, tensor in network.model.state_dict().items():
        if tensor.data_ptr() not in base:
            names.setdefault(tensor.data_ptr(), []).append(name)
    found = [[name for name in tied if name in state] for tied in names.values()]
    return {name: state[name] for tied in found for name in tied} if all(found) else {}


def write_model(network: LanguageModel, files: TransformerFiles, record: Mapping[str, JsonValue], out: Path) -> None:
    """Writes the folder that a conf file can name: weights with their head, and configuration and tokeniser as they were.

    Args:
        network: Trained.
        files: Of the model that it was.
        record: How it came to be.
        out: Empty directory.
    """
    import safetensors.torch

    kept: dict[str, Tensor] = {}
    seen: set[int] = set()
    prefix = f"{network.model.base_model_prefix}."
    for name, tensor in sorted(network.model.state_dict().items(), key=lambda item: not item[0].startswith(prefix)):
        # What is tied has one place, under its name in the backbone where it has one.
        if tensor.data_ptr() not in seen:
            kept[name] = tensor.detach().cpu().contiguous()
        seen.add(tensor.data_ptr())
    safetensors.torch.save_file(kept, out / WEIGHTS, {"format": "pt"})
    shutil.copyfile(files.config, out / CONFIG)
    shutil.copyfile(files.tokenizer, out / TOKENIZER_FILE)
    (out / RECORD).write_text(json.dumps(dict(record), indent=2, sort_keys=True) + "\n", encoding="utf-8")


def _no_masked_model(name: str) -> ConfigurationError:
    return ConfigurationError(
        got=f"continued pretraining of a {name}, which the library transformers has no masked language model for.",
        allowed="an encoder that guesses masked tokens, such as bert, distilbert, roberta or mpnet.",
        next_step="take such a backbone; decoders are tuned by fine-tuning alone.",
    )
