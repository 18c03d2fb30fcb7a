"""Untrained transformers of a few thousand weights, their tokenisers, and texts that can be told apart."""

from __future__ import annotations

import functools
import json
from pathlib import Path

import numpy as np
import safetensors.torch
import torch

from pipelines.config import ProjectConfig
from pipelines.core.bundle import file_sha256

LABELS = ("cooking", "sailing")
_WORDS = {
    "cooking": ["soup", "salt", "oven", "bread", "butter", "onion", "pepper", "sauce", "knife", "garlic"],
    "sailing": ["anchor", "harbour", "rope", "sail", "wind", "tide", "deck", "compass", "storm", "island"],
}
_ANY = ["the", "a", "and", "we", "with", "is", "old", "new", "good", "of", "some", "very"]
CONFIGS = {
    "bert": {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2, "n_positions": 64, "bos_token_id": 0, "eos_token_id": 0},
}


def sentences(n: int, seed: int = 0) -> list[tuple[str, str]]:
    """Different texts of 3 to 30 words with their labels, in turn."""
    rng = np.random.default_rng(seed)
    found: dict[str, str] = {}
    while len(found) < n:
        label = LABELS[len(found) % 2]
        pool = _WORDS[label] + _ANY
        found.setdefault(" ".join(rng.choice(pool, size=rng.integers(4, 30)).tolist()), label)
    return list(found.items())


@functools.cache
def tokenizer_json(kind: str) -> str:
    """WordPiece with [CLS] and [SEP] for `bert`, byte-level BPE without special tokens for `gpt2`; the same in every process, untrained."""
    from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

    words = sorted({*_ANY, *_WORDS["cooking"], *_WORDS["sailing"]})
    if kind == "gpt2":
        starts = [f"Ġ{word[:end]}" for word in words for end in range(1, len(word) + 1)]
        tokens = [*sorted(pre_tokenizers.ByteLevel.alphabet()), *dict.fromkeys(starts)]
        merges = [(start[:-1], start[-1]) for start in dict.fromkeys(starts)]
        tokenizer = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
        tokenizer.decoder = decoders.ByteLevel()
        return str(tokenizer.to_str())
    letters = [chr(ord("a") + number) for number in range(26)]
    pieces = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        *letters,
        *(f"##{letter}" for letter in letters),
        *(word for word in words if len(word) > 1),
    ]
    tokenizer = Tokenizer(models.WordPiece({piece: number for number, piece in enumerate(pieces)}, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return str(tokenizer.to_str())


def write_model(folder: Path, kind: str = "bert") -> Path:
    """A folder with config.json, model.safetensors and tokenizer.json, as `save_pretrained` writes a base model."""
    from transformers import CONFIG_MAPPING, MODEL_MAPPING

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = tokenizer_json(kind)
    vocabulary = len(json.loads(tokenizer)["model"]["vocab"])
    config = CONFIG_MAPPING[kind](vocab_size=vocabulary, **CONFIGS[kind])
    torch.manual_seed(0)
    model = MODEL_MAPPING[type(config)](config)
    state = {name: tensor.contiguous() for name, tensor in model.state_dict().items()}
    safetensors.torch.save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**CONFIGS[kind], "vocab_size": vocabulary, "model_type": kind}))
    (folder / "tokenizer.json").write_text(tokenizer)
    return folder


def word_tokenizer_json() -> str:
    """A token for each word, with [MASK]."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors

    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *sorted({*_ANY, *_WORDS["cooking"], *_WORDS["sailing"]})]
    tokenizer = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    tokenizer.add_special_tokens(words[:5])
    tokenizer.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tokenizer.post_processor = processors.TemplateProcessing(single="[CLS] $A [SEP]", special_tokens=[("[CLS]", 2), ("[SEP]", 3)])
    return str(tokenizer.to_str())


def write_word_model(folder: Path, *, whole: bool = False) -> Path:
    """As `write_model`, a BERT with `word_tokenizer_json`.

    Args:
        folder: Made where it is missing.
        whole: With its head for masked language modelling, as `BertForMaskedLM` is saved.
    """
    from transformers import BertConfig, BertForMaskedLM

    folder.mkdir(parents=True, exist_ok=True)
    tokenizer = word_tokenizer_json()
    content = {**CONFIGS["bert"], "vocab_size": len(json.loads(tokenizer)["model"]["vocab"])}
    torch.manual_seed(0)
    model = BertForMaskedLM(BertConfig(**content))
    kept = model if whole else model.bert
    spare = "cls.predictions.decoder."  # tied to the embeddings and to cls.predictions.bias
    state = {name: tensor.contiguous() for name, tensor in kept.state_dict().items() if not name.startswith(spare)}
    safetensors.torch.save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**content, "model_type": "bert"}))
    (folder / "tokenizer.json").write_text(tokenizer)
    return folder


def backbone_entry(folder: Path, **changes: object) -> dict[str, object]:
    """Its entry in a conf file."""
    hashes = {"sha256": file_sha256(folder / "model.safetensors"), "tokenizer_sha256": file_sha256(folder / "tokenizer.json")}
    return {"kind": "transformers", "folder": str(folder), "max_tokens": 48, **hashes, **changes}


def text_config(folder: Path, **changes: object) -> ProjectConfig:
    """A project for two kinds of sentences."""
    content: dict[str, object] = {
        "project": "tiny-texts",
        "task": "text",
        "labels": LABELS,
        "backbone": backbone_entry(folder),
        "method": {"kind": "probe"},
        "gates": [{"kind": "min_metric", "floor": 0.5}],
    }
    return ProjectConfig.model_validate(content | changes)


def write_table(path: Path, rows: list[tuple[str, str]]) -> Path:
    """A labels table of texts."""
    import csv

    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("text", "label"), *rows])
    return path
