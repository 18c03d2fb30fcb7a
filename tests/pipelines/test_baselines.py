from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from pydantic import TypeAdapter

from pipelines.answers import TestAnswers, write_answers
from pipelines.baselines import (
    Outcome,
    have_same_weights,
    is_a_probe,
    is_from_scratch,
    majority_label,
    read_baselines,
    scratch_method,
    write_baselines,
)
from pipelines.config import Method, NegativeTransferGate, Recipe, ScratchMethod
from pipelines.core.errors import DataError
from pipelines.dataset import Sample, Split
from tests.pipelines.tiny_texts import text_config, write_model

METHOD: TypeAdapter[Method] = TypeAdapter(Method)


def method(**content: object) -> Method:
    return METHOD.validate_python(content)


def gate(**changes: object) -> NegativeTransferGate:
    return NegativeTransferGate.model_validate({"kind": "negative_transfer", **changes})


def samples(**counts: int) -> list[Sample]:
    """So many of each label, named `LABEL_SPLIT`."""
    rows: list[Sample] = []
    for name, n in counts.items():
        label, split = name.split("_")
        rows += [Sample(f"{name}{row}", f"{name}{row}.png", label, "", "default", "", _split(split)) for row in range(n)]
    return rows


def _split(name: str) -> Split:
    return TypeAdapter(Split).validate_python(name)


def test_the_commonest_label_is_that_of_the_training_split() -> None:
    assert majority_label(samples(cat_train=3, dog_train=5, cat_test=90)) == ("dog", 5 / 8)


def test_of_several_commonest_the_first_in_the_alphabet() -> None:
    assert majority_label(samples(dog_train=4, cat_train=4)) == ("cat", 0.5)


def test_scratch_stops_early_and_trains_as_long_as_the_gate_says() -> None:
    section = scratch_method(gate(), method(kind="probe"), "image")
    assert (section.kind, section.epochs, section.early_stopping_epochs) == ("scratch", 30, 10)
    assert scratch_method(gate(scratch_epochs=6), method(kind="probe"), "image").early_stopping_epochs == 5


@pytest.mark.parametrize("kind", ["lp_ft", "fine_tune", "gradual", "auto"])
def test_scratch_learns_from_the_same_augmented_pictures(kind: str) -> None:
    recipe = {"augment": {"policy": "none", "flips": "horizontal"}, "class_weights": "balanced"}
    own = method(kind="auto", fine_tune=recipe) if kind == "auto" else method(kind=kind, **recipe)
    section = scratch_method(gate(), own, "image")
    assert (section.augment.policy, section.augment.flips, section.class_weights) == ("none", "horizontal", "balanced")


@pytest.mark.parametrize("content", [{"kind": "probe"}, {"kind": "lp_ft", "augment": {"policy": "token_dropout"}}], ids=["probe", "lp_ft"])
def test_scratch_of_texts_learns_at_the_rates_of_transformers(tmp_path: Path, content: dict[str, object]) -> None:
    """As a project of texts whose own method is scratch."""
    own = method(**content)
    section = scratch_method(gate(), own, "text")
    expected = text_config(write_model(tmp_path / "model", "bert"), method={"kind": "scratch"}).method
    assert isinstance(expected, ScratchMethod)
    rates = ("learning_rate", "layer_decay", "weight_decay")
    assert [getattr(section, name) for name in rates] == [getattr(expected, name) for name in rates]
    assert section.learning_rate < 1e-3
    assert section.augment.policy == ("token_dropout" if isinstance(own, Recipe) else "none")
    assert section.epochs == 30


def test_flips_that_a_probe_would_find_out_are_left_out() -> None:
    section = scratch_method(gate(), method(kind="lp_ft", augment={"flips": "auto", "magnitude": 0.7}), "image")
    assert (section.augment.flips, section.augment.magnitude) == ("none", 0.7)


@pytest.mark.parametrize(("kind", "expected"), [("probe", True), ("lp_ft", False), ("prototype", False), ("scratch", False)])
def test_which_methods_are_a_probe(kind: str, expected: bool, tmp_path: Path) -> None:
    assert is_a_probe(method(kind=kind), tmp_path) is expected


@pytest.mark.parametrize(("kept", "expected"), [("probe", True), ("prototype", False), ("lp_ft, all blocks", False)])
def test_auto_is_a_probe_where_it_kept_it(kept: str, expected: bool, tmp_path: Path) -> None:
    (tmp_path / "training.json").write_text(json.dumps({"method": "auto", "kept": kept}))
    assert is_a_probe(method(kind="auto"), tmp_path) is expected


def test_only_scratch_is_from_scratch() -> None:
    assert is_from_scratch(method(kind="scratch"))
    assert not is_from_scratch(method(kind="auto"))


def test_the_same_weights_are_the_same_model(tmp_path: Path) -> None:
    for name, content in {"a": b"one", "b": b"one", "c": b"two"}.items():
        (tmp_path / name).mkdir()
        (tmp_path / name / "weights.safetensors").write_bytes(content)
    assert have_same_weights(tmp_path / "a", tmp_path / "b")
    assert not have_same_weights(tmp_path / "a", tmp_path / "c")


ANSWERS = TestAnswers(
    ids=np.array(["a", "b"]),
    domains=np.array(["default", "default"]),
    labels=np.array(["cat", "dog"]),
    predicted=np.array(["cat", "cat"]),
    confidences=np.array([0.9, 0.6]),
)


@pytest.fixture
def written(tmp_path: Path) -> Path:
    """The output of a run whose scratch baseline was trained, and whose probe could not be."""
    for name in ("evaluated", "out"):
        (tmp_path / name).mkdir()
    write_answers(ANSWERS, tmp_path / "evaluated" / "predictions.csv")
    trained = Outcome("trained", evaluation=tmp_path / "evaluated", evaluated="0" * 64)
    outcomes = {"scratch": trained, "probe": Outcome("failed", why="too few.")}
    write_baselines(outcomes, samples(cat_train=3, dog_train=1), tmp_path / "out")
    return tmp_path / "out"


def test_what_is_written_is_read(written: Path) -> None:
    found = read_baselines(written, "one")
    assert found.scratch.answers is not None
    assert found.scratch.answers.correct.tolist() == [True, False]
    assert (found.probe.state, found.probe.why, found.probe.answers) == ("failed", "too few.", None)
    assert (found.majority, found.majority_frac) == ("cat", 0.75)


def test_answers_that_are_gone_are_bad_data(written: Path) -> None:
    (written / "scratch" / "predictions.csv").unlink()
    with pytest.raises(DataError, match="cannot be read"):
        read_baselines(written, "one")
