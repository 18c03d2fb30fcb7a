"""The team's tests on real small models of texts and of sounds: what they must say follows from the data that was trained on."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import yaml

from pipelines.behaviour import BehaviourTests, read_behaviour
from pipelines.behaviour_alterations import Alteration, altered, altered_text
from pipelines.behaviour_answers import read_behaviour_results
from pipelines.behaviour_inputs import check_behaviour, input_digests
from pipelines.config import BehaviourGate, ProjectConfig
from pipelines.core.errors import ConfigurationError, DataError
from pipelines.core.predict import Predictor
from pipelines.core.sound_files import read_sound
from pipelines.gate_stages import behaviour
from pipelines.gates.behaviour import behaviour as decided
from pipelines.gates.decision import Decision
from tests.pipelines import tiny_sounds, tiny_texts
from tests.pipelines.packaged_run import PackagedRun, packaged

GATES = [{"kind": "min_metric", "floor": 0.5}, {"kind": "behaviour"}]


@pytest.fixture(scope="module")
def texts(tmp_path_factory: pytest.TempPathFactory) -> PackagedRun:
    root = tmp_path_factory.mktemp("texts")
    config = tiny_texts.text_config(tiny_texts.write_model(root / "model"), gates=GATES)
    return packaged(root / "w", tiny_texts.write_table(root / "source.csv", tiny_texts.sentences(200)), config)


@pytest.fixture(scope="module")
def sounds(tmp_path_factory: pytest.TempPathFactory) -> PackagedRun:
    root = tmp_path_factory.mktemp("sounds")
    config = tiny_sounds.audio_config(tiny_sounds.write_weights(root / "w.safetensors"), gates=GATES)
    run = packaged(root / "w", tiny_sounds.write_sounds(root / "source", 80), config)
    (root / "w" / "behaviour").mkdir()
    for label, seed in (("high", 900), ("low", 901)):
        (root / "w" / "behaviour" / f"{label}.wav").write_bytes(tiny_sounds.as_file(tiny_sounds.sound(label, seed)))
    return run


def judged(run: PackagedRun, **content: object) -> tuple[Decision, ...]:
    """The gate's decisions on a file with this content, after what is looked at before training."""
    root, gate = run.stages.workspace.root, BehaviourGate(kind="behaviour")
    (root / "behaviour.yaml").write_text(yaml.safe_dump(content, sort_keys=False))
    check_behaviour(root, run.stages.config)
    return decided(gate, behaviour(run.stages, gate, run.bundle).path)


def test_a_word_that_says_nothing_leaves_the_answer_and_one_of_the_other_label_moves_it(texts: PackagedRun) -> None:
    given = ["the soup with salt and old bread", "some garlic and good soup"]
    words = {"soup": "anchor", "salt": "rope", "garlic": "sail", "bread": "harbour"}
    decisions = judged(
        texts,
        invariance=[
            {"name": "old or new", "texts": given, "alter": {"replace": {"old": "new", "good": "new"}}},
            {"name": "soup or anchor", "texts": given, "alter": {"replace": words}},
        ],
        direction=[
            {"name": "it cooks", "texts": given, "label": "cooking"},
            {"name": "it sails", "texts": given, "alter": {"replace": words}, "lowers": "cooking", "by": 0.05},
            {"name": "it cooks more", "texts": given, "alter": {"replace": words}, "raises": "cooking"},
        ],
    )
    assert [decision.outcome for decision in decisions] == ["pass", "refuse", "pass", "pass", "refuse"]
    assert decisions[0].condition == "old or new: the same answer after replace 'old' by 'new', 'good' by 'new'"
    assert "soup or anchor, text 1 gives cooking, then sailing" in decisions[1].reason
    assert all(one not in decision.model_dump_json() for decision in decisions for one in given)


def test_files_of_texts_are_asked_too_and_answers_are_the_predictors(texts: PackagedRun) -> None:
    root = texts.stages.workspace.root
    (root / "behaviour").mkdir()
    contents = [b"the anchor and the rope", "old soup \N{BOWL WITH SPOON}".encode()]
    for number, content in enumerate(contents):
        (root / "behaviour" / f"{number}.txt").write_bytes(content)
    test = {"name": "loud", "files": "behaviour/*.txt", "alter": {"append": " SOUP SOUP SOUP"}, "raises": "cooking"}
    (decision,) = judged(texts, direction=[test])
    predictor = Predictor.load(texts.bundle)
    before, after = (predictor.predict([one + more for one in contents]).probabilities[:, 0] for more in (b"", b" SOUP SOUP SOUP"))
    assert decision.statistic == np.mean(after > before)
    assert decision.statistic == 1


def test_a_model_that_listens_to_loudness_is_found_out(sounds: PackagedRun) -> None:
    """All sounds that it learnt from are equally loud: an untrained backbone takes the level for a part of what they are."""
    both, high = "behaviour/*.wav", "behaviour/high.wav"
    decisions = judged(
        sounds,
        invariance=[
            {"name": "hardly softer", "files": both, "alter": {"gain_db": -1}, "max_change": 0.1},
            {"name": "softer", "files": both, "alter": {"gain_db": -3}},
            {"name": "drowned", "files": both, "alter": {"noise_db": -20}},
        ],
        direction=[
            {"name": "it is high", "files": high, "label": "high"},
            {"name": "through a wall", "files": high, "alter": {"low_pass_frac": 0.5}, "label": "high"},
            {"name": "louder", "files": high, "alter": {"gain_db": 3}, "lowers": "high", "by": 0.5},
            {"name": "louder still", "files": high, "alter": {"gain_db": 3}, "raises": "high"},
        ],
    )
    assert [decision.outcome for decision in decisions] == ["pass", "refuse", "refuse", "pass", "pass", "pass", "refuse"]
    assert decisions[0].condition.startswith("hardly softer: the same answer after gain_db -1")
    assert "behaviour/low.wav gives low, then high" in decisions[1].reason


@pytest.mark.parametrize(("gain_db", "factor"), [(6, 10 ** (6 / 20)), (-20, 0.1), (40, 100)])
def test_gain_is_in_decibels_and_cuts_nothing_off(sounds: PackagedRun, gain_db: float, factor: float) -> None:
    content = (sounds.stages.workspace.root / "behaviour" / "high.wav").read_bytes()
    after = altered(content, Alteration(gain_db=gain_db), Predictor.load(sounds.bundle, verify=False).manifest.preprocess)
    np.testing.assert_allclose(read_sound(after).samples, factor * read_sound(content).samples, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "before", "after"),
    [
        ({"replace": {"Anna": "Mei"}}, "Anna, Annabel and Anna's cat", "Mei, Annabel and Mei's cat"),
        ({"replace": {"a": "b", "b": "a"}}, "a b ab", "b a ab"),
        ({"replace": {"is": "is not", "is not": "is"}}, "it is not what it is", "it is what it is not"),
        ({"replace": {"c++": "Rust"}}, "c++ (c++)", "Rust (Rust)"),
        ({"replace": {"très": "peu"}}, "très, trèsor", "peu, trèsor"),
        ({"prepend": "Honestly, "}, "it works", "Honestly, it works"),
        ({"append": " 🎉"}, "it works", "it works 🎉"),
        ({"case": "upper"}, "straße", "STRASSE"),
        ({"case": "lower"}, "It WORKS", "it works"),
    ],
)
def test_texts_are_altered_as_the_team_says(change: dict[str, object], before: str, after: str) -> None:
    assert altered_text(before.encode(), Alteration.model_validate(change)).decode() == after


def test_typos_are_the_same_each_time() -> None:
    text = ("the quick brown fox jumps over the lazy dog " * 5).encode()
    first, again = (altered_text(text, Alteration(typo_frac=0.1)) for _ in range(2))
    assert first == again != text
    assert 5 < sum(one != other for one, other in zip(first, text, strict=True)) < 40


def text_project(tmp_path: Path, **content: object) -> tuple[Path, ProjectConfig]:
    (tmp_path / "behaviour.yaml").write_text(yaml.safe_dump(content))
    return tmp_path, tiny_texts.text_config(tiny_texts.write_model(tmp_path / "model"), gates=GATES)


def sound_project(tmp_path: Path, **content: object) -> tuple[Path, ProjectConfig]:
    (tmp_path / "behaviour.yaml").write_text(yaml.safe_dump(content))
    (tmp_path / "torn.wav").write_bytes(b"RIFF and no more")
    return tmp_path, tiny_sounds.audio_config(tiny_sounds.write_weights(tmp_path / "w.safetensors"), gates=GATES)


@pytest.mark.parametrize(
    ("project", "test", "error", "said"),
    [
        (
            text_project,
            {"texts": ["a b"], "alter": {"replace": {"c": "d"}}},
            DataError,
            "t, text 1 a text of 3 .* replace leaves",
        ),
        (
            text_project,
            {"texts": ["soup", "123"], "alter": {"case": "upper"}},
            DataError,
            "1 inputs .* t, text 2 a text of .* case leaves",
        ),
        (text_project, {"texts": ["soup", " \n"], "alter": {"append": "!"}}, DataError, "t, text 2 a text of 2 .* nothing to read"),
        (
            text_project,
            {"texts": ["soup"], "alter": {"jpeg": 5}},
            ConfigurationError,
            "t: jpeg is not for task: text; take replace,",
        ),
        (text_project, {"texts": ["soup"], "alter": {"replace": {}}}, ConfigurationError, "at least 1 item"),
        (text_project, {"files": "no/*.txt", "alter": {"case": "upper"}}, ConfigurationError, r"no file is called no/\*\.txt"),
        (
            sound_project,
            {"files": "torn.wav", "alter": {"gain_db": 3}},
            DataError,
            r"first: torn\.wav .* Allowed: sounds that can be",
        ),
        (sound_project, {"texts": ["soup"], "alter": {"gain_db": 3}}, ConfigurationError, "t: texts is not for task: audio; give files"),
        (sound_project, {"files": "torn.wav", "alter": {"gain_db": 90}}, ConfigurationError, "less than or equal to 40"),
    ],
)
def test_what_would_show_nothing_is_found_before_training(
    tmp_path: Path, project: Callable[..., tuple[Path, ProjectConfig]], test: dict[str, object], error: type[Exception], said: str
) -> None:
    root, config = project(tmp_path, invariance=[{"name": "t", **test}])
    with pytest.raises(error, match=said):
        check_behaviour(root, config)


def test_the_digest_of_a_text_is_that_of_its_bytes(tmp_path: Path) -> None:
    root, config = text_project(tmp_path, direction=[{"name": "t", "texts": ["soup 🎉", "rope"], "label": "cooking"}])
    tests = read_behaviour(root, "behaviour.yaml", config.task, config.labels)
    digests = {f"t, text {number}": hashlib.sha256(text.encode()).hexdigest() for number, text in ((1, "soup 🎉"), (2, "rope"))}
    assert input_digests(root, tests) == digests


@pytest.mark.parametrize("guide", ["text.md", "audio.md"])
def test_the_examples_of_the_guides_are_read(guide: str) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "guides" / guide).read_text(encoding="utf-8")
    block = next(part for part in page.split("```yaml\n")[1:] if part.startswith("invariance:")).split("```")[0]
    tests = BehaviourTests.model_validate(yaml.safe_load(block))
    assert tests.invariance
    assert tests.direction


def test_results_are_read_again(texts: PackagedRun) -> None:
    judged(texts, direction=[{"name": "one", "texts": ["the soup"], "not_label": "sailing"}])
    (result,) = read_behaviour_results(behaviour(texts.stages, BehaviourGate(kind="behaviour"), texts.bundle).path)
    assert (result.name, result.n_needed, result.inputs[0].file) == ("one", 1, "one, text 1")
