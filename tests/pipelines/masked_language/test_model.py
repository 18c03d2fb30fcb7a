from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

from pipelines.config import TransformersBackbone
from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.masked_language.model import LoadedModel, load_language_model, write_model
from pipelines.transformer_files import described, load_transformer
from tests.pipelines.tiny_texts import backbone_entry, word_tokenizer_json, write_word_model
from tests.pipelines.tiny_texts import write_model as write_gpt2
from tests.pipelines.training.gradient_cases import copied, same

N_TOKENS = len(json.loads(word_tokenizer_json())["model"]["vocab"])
SMALL = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48, "max_position_embeddings": 64}
KINDS: dict[str, dict[str, Any]] = {
    "bert": SMALL,
    "roberta": {**SMALL, "pad_token_id": 0},
    "mpnet": {**SMALL, "pad_token_id": 0},
    "distilbert": {"dim": 32, "n_layers": 1, "n_heads": 2, "hidden_dim": 48, "max_position_embeddings": 64},
}


def loaded(folder: Path, seed: int = 0) -> LoadedModel:
    files, spec, _ = described(TransformersBackbone.model_validate(backbone_entry(folder)))
    return load_language_model(files, spec, seed)


def saved(folder: Path, kind: str) -> Path:
    """A base model of another architecture, as its author saves it."""
    from transformers import CONFIG_MAPPING, MODEL_MAPPING

    folder.mkdir()
    content = {**KINDS[kind], "vocab_size": N_TOKENS}
    config = CONFIG_MAPPING[kind](**content)
    torch.manual_seed(0)
    model_class: Any = MODEL_MAPPING[type(config)]
    state = {name: tensor.contiguous() for name, tensor in model_class(config).state_dict().items()}
    safetensors.torch.save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**content, "model_type": kind}))
    (folder / "tokenizer.json").write_text(word_tokenizer_json())
    return folder


def test_a_new_head_is_drawn_by_its_seed_and_the_backbone_is_that_of_the_files(tmp_path: Path) -> None:
    folder = write_word_model(tmp_path / "bert")
    one, again, other = loaded(folder, 0), loaded(folder, 0), loaded(folder, 1)
    assert one.has_new_head
    assert same(one.network.state_dict(), again.network.state_dict())
    assert not same(one.network.state_dict(), other.network.state_dict())
    stated = safetensors.torch.load_file(folder / "model.safetensors")
    base = one.network.base.state_dict()
    assert all(torch.equal(tensor, stated[name]) for name, tensor in base.items())
    model: Any = one.network.model
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    # What is tied is the backbone's: no parameter is in both.
    assert not {id(parameter) for parameter in one.head} & {id(parameter) for parameter in one.network.base.parameters()}
    assert len(one.head) == 5  # a layer and its norm, weight and bias of each, and a bias for each token


def test_a_head_of_the_files_is_taken(tmp_path: Path) -> None:
    folder = write_word_model(tmp_path / "bert", whole=True)
    one, other = loaded(folder, 0), loaded(folder, 1)
    assert not one.has_new_head
    assert same(one.network.state_dict(), other.network.state_dict())
    stated = safetensors.torch.load_file(folder / "model.safetensors")
    assert all(torch.equal(tensor, one.network.model.state_dict()[name]) for name, tensor in stated.items())


def test_a_head_under_the_names_of_old_files_is_taken(tmp_path: Path) -> None:
    folder = write_word_model(tmp_path / "bert", whole=True)
    expected = copied(loaded(folder).network.state_dict())
    stated = safetensors.torch.load_file(folder / "model.safetensors")
    old = {name.replace("LayerNorm.weight", "LayerNorm.gamma").replace("LayerNorm.bias", "LayerNorm.beta"): stated[name] for name in stated}
    assert old.keys() != stated.keys()
    safetensors.torch.save_file(old, folder / "model.safetensors")
    again = loaded(folder)
    assert not again.has_new_head
    assert same(again.network.state_dict(), expected)


def test_a_head_that_does_not_fit_is_named(tmp_path: Path) -> None:
    folder = write_word_model(tmp_path / "bert", whole=True)
    stated = safetensors.torch.load_file(folder / "model.safetensors")
    stated["cls.predictions.transform.dense.weight"] = torch.zeros(3, 3)
    safetensors.torch.save_file(stated, folder / "model.safetensors")
    with pytest.raises(IntegrityError, match=r"head .* does not fit bert: cls\.predictions\.transform\.dense\.weight"):
        loaded(folder)


def test_half_a_head_is_none(tmp_path: Path) -> None:
    folder = write_word_model(tmp_path / "bert", whole=True)
    state = safetensors.torch.load_file(folder / "model.safetensors")
    del state["cls.predictions.transform.dense.weight"]
    safetensors.torch.save_file(state, folder / "model.safetensors")
    assert loaded(folder).has_new_head


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_is_a_backbone_again_and_has_its_head(tmp_path: Path, kind: str) -> None:
    folder = saved(tmp_path / kind, kind)
    model = loaded(folder)
    with torch.no_grad():
        for parameter in model.network.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(1)))
    files, _, _ = described(TransformersBackbone.model_validate(backbone_entry(folder)))
    (tmp_path / "new").mkdir()
    write_model(model.network, files, {"n": 1}, tmp_path / "new")
    new_files, spec, _ = described(TransformersBackbone.model_validate(backbone_entry(tmp_path / "new")))
    backbone: Any = load_transformer(new_files, spec)
    assert same(copied(backbone.model.state_dict()), copied(model.network.base.state_dict()))
    again = loaded(tmp_path / "new", seed=5)
    assert not again.has_new_head
    assert same(again.network.state_dict(), model.network.state_dict())
    assert json.loads((tmp_path / "new" / "continued_pretraining.json").read_text()) == {"n": 1}


def test_padding_does_not_move_a_token(tmp_path: Path) -> None:
    network: nn.Module = loaded(write_word_model(tmp_path / "bert")).network.eval()
    with torch.inference_mode():
        alone, beside = network(torch.tensor([[2, 7, 8, 3]])), network(torch.tensor([[2, 7, 8, 3, -1, -1], [2, 9, 9, 9, 9, 3]]))
    torch.testing.assert_close(beside[:1, :4], alone, rtol=1e-4, atol=1e-5)


def test_a_decoder_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"pretraining of a gpt2, which .* has no masked language model for.*such as bert"):
        loaded(write_gpt2(tmp_path / "gpt2", "gpt2"))
