from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch import nn

from pipelines.config import TransformersBackbone
from pipelines.core.modalities.text import padded
from pipelines.masked_language.loss import MaskedLoss, held_out_loss
from pipelines.masked_language.masking import masked, masking_of
from pipelines.masked_language.model import load_language_model
from pipelines.masked_language.texts import pieces_of
from pipelines.training.batches import stateless_seed
from pipelines.training.step import StepPart
from pipelines.transformer_files import described
from tests.pipelines.tiny_texts import backbone_entry, sentences, word_tokenizer_json, write_word_model

TOKENIZER = Tokenizer.from_str(word_tokenizer_json())
MASKING = masking_of(TOKENIZER, TOKENIZER.get_vocab_size())
PIECES = pieces_of({f"{number:064d}": text for number, (text, _) in enumerate(sentences(40))}, TOKENIZER, 48)
PART = StepPart(epoch=2, step=0, number=0, n_parts=1)


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = write_word_model(tmp_path_factory.mktemp("model") / "bert", whole=True)
    files, spec, _ = described(TransformersBackbone.model_validate(backbone_entry(folder)))
    return load_language_model(files, spec, 0).network.eval()


def test_the_loss_of_a_step_is_the_librarys_own(network: Any) -> None:
    """transformers computes it from labels that are -100 where nothing is guessed."""
    places = np.arange(9)
    ids = padded([PIECES[place].ids.astype(np.int64) for place in places])
    with torch.inference_mode():
        found = MaskedLoss(MASKING, seed=7)(nn.Sequential(network), torch.from_numpy(ids), torch.from_numpy(places), PART)
        seen, guessed = masked(ids, MASKING, [stateless_seed("mask", 7, 2, int(place)) for place in places])
        labels = np.where(guessed, ids, -100)
        inputs, mask = torch.from_numpy(np.where(ids < 0, 0, seen)), torch.from_numpy((ids >= 0).astype(np.int64))
        expected = network.model(input_ids=inputs, attention_mask=mask, labels=torch.from_numpy(labels)).loss
    assert guessed.sum() > 5
    assert float(found) == pytest.approx(float(expected), rel=1e-5)


def test_another_round_hides_other_tokens(network: Any) -> None:
    ids = torch.from_numpy(padded([piece.ids.astype(np.int64) for piece in PIECES[:9]]))
    loss, places = MaskedLoss(MASKING, seed=7), torch.arange(9)
    with torch.inference_mode():
        one, again, other = (float(loss(nn.Sequential(network), ids, places, StepPart(epoch, 0, 0, 1))) for epoch in (1, 1, 2))
    assert one == again != other


def test_a_part_without_a_hidden_token_teaches_nothing(network: Any) -> None:
    ids = torch.tensor([[2, 3]])
    loss = MaskedLoss(MASKING, seed=0)(nn.Sequential(network), ids, torch.tensor([0]), PART)
    assert float(loss.detach()) == 0.0
    torch.autograd.backward(loss)
    assert all(parameter.grad is None or not parameter.grad.any() for parameter in network.parameters())
    network.zero_grad()


def test_the_loss_on_held_out_texts_by_numpy(network: Any) -> None:
    found = held_out_loss(network, PIECES, MASKING, seed=3)
    losses, right = [], []
    for piece in PIECES:  # one by one, without padding
        ids = piece.ids.astype(np.int64)[None]
        seen, guessed = masked(ids, MASKING, [stateless_seed("held out mask", 3, piece.name)])
        with torch.inference_mode():
            logits = network(torch.from_numpy(seen))[0].double().numpy()
        logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
        losses += [-logs[place, ids[0, place]] for place in np.flatnonzero(guessed[0])]
        right += [logs[place].argmax() == ids[0, place] for place in np.flatnonzero(guessed[0])]
    assert found.n_tokens == len(losses) > 50
    assert found.loss == pytest.approx(np.mean(losses), rel=1e-5)
    assert found.accuracy == np.mean(right)
    assert held_out_loss(network, PIECES[::-1], MASKING, seed=3) == found


def test_texts_in_which_nothing_was_hidden_say_nothing(network: Any) -> None:
    short = pieces_of({"0" * 64: "soup"}, TOKENIZER, 48)
    ids, name = short[0].ids.astype(np.int64)[None], short[0].name
    seed = next(number for number in range(100) if not masked(ids, MASKING, [stateless_seed("held out mask", number, name)])[1].any())
    found = held_out_loss(network, short, MASKING, seed)
    assert (found.loss, found.accuracy, found.n_tokens) == (np.inf, 0.0, 0)
