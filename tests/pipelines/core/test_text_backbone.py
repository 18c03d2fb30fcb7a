from __future__ import annotations

from typing import Literal

import numpy as np
import pytest
import torch
from timm.models import group_parameters

from pipelines.core.errors import ConfigurationError
from pipelines.core.modalities.text import padded
from pipelines.core.text_backbone import TransformersSpec, build_text_backbone
from tests.pipelines.tiny_texts import CONFIGS

Pooling = Literal["mean", "cls", "last_token"]
CASES: list[tuple[str, Pooling]] = [("bert", "mean"), ("bert", "cls"), ("gpt2", "last_token"), ("gpt2", "mean")]


def spec(kind: str, pooling: Pooling = "mean", **changes: object) -> TransformersSpec:
    return TransformersSpec(
        name=kind, config={**CONFIGS[kind], "vocab_size": 60, **changes}, pooling=pooling, origin="test", weights_sha256=None
    )


def network(kind: str, pooling: Pooling) -> torch.nn.Module:
    torch.manual_seed(1)
    return build_text_backbone(spec(kind, pooling)).eval()


def ids(*lengths: int) -> list[np.ndarray]:
    rng = np.random.default_rng(0)
    return [rng.integers(1, 60, size=length) for length in lengths]


@pytest.mark.parametrize(("kind", "pooling"), CASES)
def test_padded_batches_agree_with_single_texts(kind: str, pooling: Pooling) -> None:
    built, texts = network(kind, pooling), ids(1, 3, 17, 40, 8)
    with torch.inference_mode():
        together = built(torch.from_numpy(padded(texts)))
        alone = torch.cat([built(torch.from_numpy(text[None])) for text in texts])
    assert together.shape == (5, 32)
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("kind", "pooling"), CASES)
def test_pooling_is_that_of_the_library_s_own_states(kind: str, pooling: Pooling) -> None:
    built, text = network(kind, pooling), ids(9)[0]
    with torch.inference_mode():
        states = built.model(input_ids=torch.from_numpy(text[None])).last_hidden_state[0].double().numpy()
        found = built(torch.from_numpy(text[None]))[0].numpy()
    expected = {"mean": states.mean(axis=0), "cls": states[0], "last_token": states[-1]}[pooling]
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)


def test_a_decoder_does_not_look_ahead_and_the_mask_matters() -> None:
    """Planted: with the first token pooled a decoder would know nothing of the rest, and unmasked padding would move the mean."""
    gpt, bert, text = network("gpt2", "cls"), network("bert", "mean"), ids(12)[0]
    with torch.inference_mode():
        one, other = (gpt(torch.from_numpy(value[None])) for value in (text, np.append(text[:1], text[:0:-1])))
        torch.testing.assert_close(one, other)
        unmasked = bert(torch.from_numpy(np.append(text, np.zeros(20, dtype=np.int64))[None]))
        masked = bert(torch.from_numpy(np.append(text, np.full(20, -1))[None]))
    assert float((unmasked - masked).abs().max()) > 1e-3


@pytest.mark.parametrize("kind", ["bert", "gpt2"])
def test_blocks_are_embeddings_and_layers(kind: str) -> None:
    built = build_text_backbone(spec(kind))
    groups = group_parameters(built, built.group_matcher(coarse=True))
    names = [groups[key] for key in sorted(groups)]
    assert sum(map(len, names)) == len(list(built.parameters()))
    assert all("emb" in name or "wte" in name or "wpe" in name for name in names[0])
    assert all(".0." in name for name in names[1])
    assert all(".1." in name for name in names[2])


@pytest.mark.parametrize("kind", ["no-such-model", "t5", "resnet", "vit", "wav2vec2"])
def test_what_the_library_cannot_read_texts_with_is_refused(kind: str) -> None:
    other = TransformersSpec(name=kind, config={}, pooling="mean", origin="test", weights_sha256=None)
    with pytest.raises(ConfigurationError, match=rf"model_type '{kind}'.*bert.*trust_remote_code.*never run"):
        build_text_backbone(other)


def test_a_configuration_with_a_value_of_another_type_is_refused() -> None:
    spec = TransformersSpec(name="bert", config={"hidden_size": "wide"}, pooling="mean", origin="test", weights_sha256=None)
    with pytest.raises(ConfigurationError, match=r"cannot build: StrictDataclassFieldValidationError"):
        build_text_backbone(spec)


def test_a_configuration_that_cannot_be_built_is_refused() -> None:
    with pytest.raises(ConfigurationError, match=r"config.json of a bert, which the library transformers cannot build"):
        build_text_backbone(spec("bert", num_attention_heads=5))
