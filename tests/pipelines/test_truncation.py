"""What a backbone does not see of texts, against words that are counted by hand: the tokeniser has a token for each word."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from pipelines.core.errors import ConfigurationError
from pipelines.data_stages import truncation
from pipelines.dataset import read_sample, read_samples
from pipelines.import_data import import_samples
from pipelines.selected_backbone import read_selected
from pipelines.stages import Stages
from pipelines.truncation import read_truncation
from pipelines.workspace import Workspace
from tests.pipelines import tiny_sounds
from tests.pipelines.tiny_texts import LABELS, backbone_entry, text_config, write_table, write_word_model

# Of 10 tokens two are [CLS] and [SEP].
MAX_TOKENS, N_KEPT = 10, 8


def measured(root: Path, n_words: list[int]) -> tuple[Stages, Path, Path]:
    """A project of texts with so many words each: its stages, the split, what was measured."""
    rng = np.random.default_rng(0)
    rows = [(" ".join(rng.choice(["soup", "salt", "sail", "rope", "tide"], n).tolist()), LABELS[n % 2]) for n in n_words]
    import_samples(write_table(root / "source.csv", rows), root / "w" / "data", task="text")
    folder = write_word_model(root / "model")
    stages = Stages(Workspace(root / "w"), text_config(folder, backbone=backbone_entry(folder, max_tokens=MAX_TOKENS)))
    split = stages.split(stages.manifest("d"))
    return stages, split.path / "samples.csv", truncation(stages, split, stages.select(split)).path


def test_long_texts_are_counted_by_split(tmp_path: Path) -> None:
    n_words = [*range(5, 45), N_KEPT + 1, *[N_KEPT] * 4]
    stages, split, folder = measured(tmp_path, n_words)
    found = read_truncation(folder)
    words: dict[str, list[int]] = {}
    for sample in read_samples(split):
        words.setdefault(sample.split, []).append(len(read_sample(stages.workspace.data, sample).decode().split()))
    everything = [n for counts in words.values() for n in counts]
    assert len(set(words)) == 3
    for cut, counts in [(found.all, everything), *((found.by_split[name], words[name]) for name in ("train", "validation", "test"))]:
        long = [n for n in counts if n > N_KEPT]
        assert (cut.n, cut.n_truncated) == (len(counts), len(long))
        assert cut.unread_frac == pytest.approx(sum(n - N_KEPT for n in long) / sum(long) if long else 0)
    share = found.all.n_truncated / found.all.n
    assert found.in_words.startswith(f"{found.all.n_truncated} of {len(everything)} texts ({share:.1%}) are longer than the 10 tokens")
    assert f"train {found.by_split['train'].n_truncated} of {len(words['train'])}, validation" in found.in_words
    assert "soup" not in (folder / "truncation.json").read_text()


def test_texts_that_just_fit_are_not_cut(tmp_path: Path) -> None:
    _, _, folder = measured(tmp_path, [*range(3, N_KEPT + 1)] * 7)
    found = read_truncation(folder)
    assert (found.all.n_truncated, found.all.unread_frac) == (0, 0)
    assert found.in_words == f"None of {found.all.n} texts is longer than the 10 tokens that the backbone reads."
    assert json.loads((folder / "truncation.json").read_bytes())["max_tokens"] == MAX_TOKENS


def test_a_backbone_that_reads_no_texts_is_refused(tmp_path: Path) -> None:
    stages = Stages(Workspace(tmp_path), tiny_sounds.audio_config(tiny_sounds.write_weights(tmp_path / "w.safetensors")))
    choice = read_selected(stages.select().path / "backbone.json")
    with pytest.raises(ConfigurationError, match=r"inputs are of kind audio\. Allowed: a backbone of texts\."):
        _ = choice.text_modality
