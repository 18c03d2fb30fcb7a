"""A CLIP of a few thousand random weights as `save_pretrained` writes one, which a test makes itself."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import torch

from pipelines.core.bundle import file_sha256

SIDE_PX = 32
WORDS = ["a", "photo", "of", "dark", "light", "thing", "."]
_CONFIG = {
    "projection_dim": 8,
    "text_config": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "max_position_embeddings": 12,
        "vocab_size": 3 + len(WORDS),
        "bos_token_id": 0,
        "eos_token_id": 1,
        "pad_token_id": 1,
        "projection_dim": 8,
    },
    "vision_config": {
        "hidden_size": 16,
        "intermediate_size": 32,
        "num_hidden_layers": 2,
        "num_attention_heads": 2,
        "image_size": SIDE_PX,
        "patch_size": 16,
        "projection_dim": 8,
    },
}


def write_clip(folder: Path, seed: int = 0) -> Path:
    """The four files."""
    from transformers import CLIPConfig, CLIPImageProcessor, CLIPModel

    torch.manual_seed(seed)
    model = CLIPModel(CLIPConfig(**_CONFIG))
    # Larger than the library's own start, so that answers differ by more than rounding.
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.ndim > 1 and name != "logit_scale":
                parameter.normal_(std=0.3)
    model.save_pretrained(folder)
    sizes = {"size": {"shortest_edge": SIDE_PX}, "crop_size": {"height": SIDE_PX, "width": SIDE_PX}}
    CLIPImageProcessor(**sizes).save_pretrained(folder)
    (folder / "tokenizer.json").write_text(_tokenizer())
    return folder


def entry(folder: Path) -> dict[str, object]:
    """Its entry in a conf file."""
    hashes = {"sha256": file_sha256(folder / "model.safetensors"), "tokenizer_sha256": file_sha256(folder / "tokenizer.json")}
    return {"folder": str(folder), **hashes}


def teach(folder: Path, texts: list[str], images: np.ndarray) -> None:
    """Plants the meaning of words: the text projection is solved for, so that each text lies where its image does.

    Args:
        folder: Of `write_clip`; its weights are replaced.
        texts: [t].
        images: What `pixel_values` are, float32 [t, 3, h, w].
    """
    from tokenizers import Tokenizer
    from transformers import CLIPModel

    model = CLIPModel.from_pretrained(folder).eval()
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with torch.no_grad():
        states = torch.cat([model.text_model(input_ids=torch.tensor([tokenizer.encode(text).ids])).pooler_output for text in texts])
        points = model.visual_projection(model.vision_model(pixel_values=torch.from_numpy(images)).pooler_output)
        model.text_projection.weight.copy_((torch.linalg.pinv(states) @ points).T)
    model.save_pretrained(folder)


def _tokenizer() -> str:
    from tokenizers import Tokenizer, models, normalizers, pre_tokenizers, processors

    vocabulary = {"<s>": 0, "</s>": 1, "<unk>": 2} | {word: 3 + place for place, word in enumerate(WORDS)}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=[("<s>", 0), ("</s>", 1)])
    return json.dumps(json.loads(tokenizer.to_str()))
