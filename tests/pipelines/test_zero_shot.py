"""Label names against texts, by a tiny untrained transformer: beside NumPy on the library's own model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
from numpy.typing import NDArray
from pydantic import ValidationError

from pipelines.config import ProjectConfig, ZeroShotSection
from pipelines.core.errors import DataError
from pipelines.dataset import read_sample, read_samples
from pipelines.import_data import import_samples
from pipelines.intervals import clopper_pearson
from pipelines.report_stages import wants_zero_shot, zero_shot
from pipelines.stages import Stages
from pipelines.store import StageOutput
from pipelines.workspace import Workspace
from pipelines.zero_shot import nearest
from tests.pipelines.tiny_texts import LABELS, sentences, text_config, write_model, write_table

# An untrained network knows no meanings, but the mean of its states tells which words are there.
NAMES = {"cooking": "soup", "sailing": "anchor"}
WORDS = {label: [word] for label, word in NAMES.items()}


def planted_texts() -> list[tuple[str, str]]:
    """Nearly all of each text's words are its label's."""
    rows = [(f"{f'{NAMES[label]} ' * 20}{' '.join(text.split()[:3])}", label) for text, label in sentences(120)]
    return list(dict(rows).items())


def measured(root: Path, config: ProjectConfig, rows: list[tuple[str, str]] | None = None) -> tuple[StageOutput, dict[str, Any], Stages]:
    if not (root / "data").exists():
        import_samples(write_table(root / "source.csv", rows or sentences(120)), root / "data", task="text")
    stages = Stages(Workspace(root), config)
    output = zero_shot(stages, stages.split(stages.manifest("d")), stages.select())
    return output, json.loads((output.path / "zero_shot.json").read_bytes()), stages


def oracle(folder: Path, texts: list[str]) -> NDArray[np.float64]:
    """Means of the library's own states over tokens, without padding or batches: [n, d]."""
    from tokenizers import Tokenizer
    from transformers import BertConfig, BertModel

    content = json.loads((folder / "config.json").read_text())
    model = BertModel(BertConfig(**{key: value for key, value in content.items() if key != "model_type"}))
    model.load_state_dict(safetensors.torch.load_file(folder / "model.safetensors"))
    tokenizer = Tokenizer.from_file(str(folder / "tokenizer.json"))
    with torch.no_grad():
        rows = [model.eval()(torch.tensor([tokenizer.encode(text).ids[:48]])).last_hidden_state[0].mean(dim=0) for text in texts]
    return torch.stack(rows).double().numpy()


def test_it_is_what_numpy_finds_with_the_librarys_model(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    config = text_config(folder, zero_shot={"template": "all about {label}", "prompts": {"sailing": ["rope and wind", "the tide"]}})
    _, record, stages = measured(tmp_path, config)
    test = read_samples(stages.split(stages.manifest("d")).path / "samples.csv", "test")
    samples = oracle(folder, [read_sample(tmp_path / "data", sample).decode() for sample in test])
    cooking, rope, tide = (row / np.linalg.norm(row) for row in oracle(folder, ["all about cooking", "rope and wind", "the tide"]))
    sailing = (rope + tide) / 2
    cosines = [[row @ one / np.linalg.norm(row) / np.linalg.norm(one) for one in (cooking, sailing)] for row in samples]
    assert min(abs(first - second) for first, second in cosines) > 1e-6, "nearer than rounding: take other texts"
    n_hits = sum(LABELS[int(np.argmax(row))] == sample.label for row, sample in zip(cosines, test, strict=True))
    exact = clopper_pearson(n_hits, len(test))
    assert record["accuracy"] == {"value": n_hits / len(test), "low": exact.low, "high": exact.high, "n": len(test)}
    assert record["wordings"] == {"cooking": ["all about cooking"], "sailing": ["rope and wind", "the tide"]}
    assert (record["outcome"], record["network"]) == ("measured", "model")


def test_where_names_decide_it_is_right_and_with_names_exchanged_it_is_wrong(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    _, right, _ = measured(tmp_path, text_config(folder, zero_shot={"prompts": WORDS}), planted_texts())
    assert right["accuracy"]["value"] == 1
    exchanged = dict(zip(WORDS, reversed(WORDS.values()), strict=True))
    _, wrong, _ = measured(tmp_path, text_config(folder, zero_shot={"prompts": exchanged}))
    assert wrong["accuracy"]["value"] == 0


def test_labels_of_the_training_samples_change_nothing(tmp_path: Path) -> None:
    """Nothing is learnt: with every label outside of the test split exchanged the row is the same to the bit."""
    folder = write_model(tmp_path / "model")
    config = text_config(folder, zero_shot={"prompts": WORDS})
    _, before, stages = measured(tmp_path, config)
    split = stages.split(stages.manifest("d"))
    other = {"cooking": "sailing", "sailing": "cooking"}
    planted = tmp_path / "planted"
    planted.mkdir()
    lines = (split.path / "samples.csv").read_text().splitlines()
    names = lines[0].split(",")
    rows = [dict(zip(names, line.split(","), strict=True)) for line in lines[1:]]
    for row in rows:
        row["label"] = row["label"] if row["split"] == "test" else other[row["label"]]
    (planted / "samples.csv").write_text("\n".join([lines[0], *(",".join(row.values()) for row in rows)]) + "\n")
    again = zero_shot(stages, StageOutput("split", "9" * 64, planted, cached=False, seconds=0.0), stages.select())
    assert not again.cached
    assert json.loads((again.path / "zero_shot.json").read_bytes()) == before


def test_it_is_kept_until_wordings_or_the_split_change(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    first, _, _ = measured(tmp_path, text_config(folder))
    assert not first.cached
    assert measured(tmp_path, text_config(folder, method={"kind": "prototype"}))[0].cached, "how it is trained does not matter"
    assert not measured(tmp_path, text_config(folder, zero_shot={"template": "on {label}"}))[0].cached
    assert not measured(tmp_path, text_config(folder, split={"salt": "other"}))[0].cached


@pytest.mark.parametrize("pooling", ["cls", "last_token"])
def test_other_poolings_than_the_mean_are_said_not_to_fit(tmp_path: Path, pooling: str) -> None:
    folder = write_model(tmp_path / "model")
    config = text_config(folder)
    config = config.model_copy(update={"backbone": config.backbone.model_copy(update={"pooling": pooling})})
    _, record, _ = measured(tmp_path, config)
    assert record["outcome"] == "not_applicable"
    assert f"pooling is {pooling}" in record["reason"]
    assert "accuracy" not in record


def test_many_labels_a_sample_are_said_not_to_fit(tmp_path: Path) -> None:
    config = text_config(write_model(tmp_path / "model"), labels_per_sample="many")
    _, record, _ = measured(tmp_path, config)
    assert record["outcome"] == "not_applicable"
    assert "any number of labels" in record["reason"]


def test_a_name_that_is_no_word_is_an_error_that_says_so(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nothing to read in it"):
        measured(tmp_path, text_config(write_model(tmp_path / "model"), zero_shot={"prompts": {"cooking": [" "]}}))


def test_nearest_is_by_direction_and_equals_go_to_the_first() -> None:
    names = [np.array([[1.0, 0.0], [0.0, 10.0]], dtype=np.float32), np.array([[3.0, 0.0]], dtype=np.float32)]
    samples = np.array([[5.0, 0.1], [1.0, 1.0], [0.1, 9.0], [0.0, 0.0]], dtype=np.float32)
    assert nearest(samples, names).tolist() == [1, 0, 0, 0]


def test_it_is_asked_for_of_texts_and_can_be_switched_off(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    assert wants_zero_shot(text_config(folder))
    assert not wants_zero_shot(text_config(folder, zero_shot={"enabled": False}))


def test_wordings() -> None:
    section = ZeroShotSection(prompts={"b": ("one", "two")})
    assert section.wordings("ice_cream", "text") == ("ice cream",)
    assert section.wordings("ice_cream", "image") == ("a photo of a ice cream.",)
    assert section.wordings("b", "text") == ("one", "two")
    assert ZeroShotSection(template="{label}, {label}").wordings("{x}", "text") == ("{x}, {x}",)


@pytest.mark.parametrize(
    ("section", "match"),
    [
        ({"template": "a photo"}, r"template 'a photo' has no \{label\}"),
        ({"prompts": {"baking": ["bread"]}}, "zero_shot.prompts names baking; labels are cooking, sailing"),
        ({"prompts": {"cooking": []}}, "at least 1 item"),
        ({"clip": {"hub": "a/b", "revision": "0" * 40}}, "zero_shot.clip is for task: image"),
    ],
)
def test_what_is_refused(tmp_path: Path, section: dict[str, Any], match: str) -> None:
    with pytest.raises(ValidationError, match=match):
        text_config(write_model(tmp_path / "model"), zero_shot=section)
