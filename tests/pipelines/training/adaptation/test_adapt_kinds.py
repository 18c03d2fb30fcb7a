"""Method `adapt` of texts and sounds: the code is that of images, so this asks what could differ by the kind of input."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.backbones import select_backbone
from pipelines.config import AdaptMethod, ProjectConfig
from pipelines.core.errors import ConfigurationError
from pipelines.dataset import Sample, Split, write_samples
from pipelines.ingest import known_content
from pipelines.training import loop
from pipelines.training.adaptation.adapt import target_inputs, train_adapted
from pipelines.training.adaptation.target_batches import TargetBatches
from pipelines.training.embedding import embed
from pipelines.training.gathering import material_for
from pipelines.training.material import Material, Trained
from pipelines.training.train import METHODS
from pipelines.unlabelled import RawInput, add_snapshot
from tests.pipelines.tiny_sounds import as_file, audio_config, sound, write_weights
from tests.pipelines.tiny_texts import sentences, text_config, write_model
from tests.pipelines.training.gradient_cases import StoppedError, copied, same, stopping_at

N_TRAIN, N_TARGET = 32, 24
PROBE: dict[str, Any] = {"kind": "probe", "strengths": [0.1]}
QUICK: dict[str, Any] = {"epochs": 2, "batch_size": 8, "learning_rate": 1e-3}
WAYS = [("text", "coral"), ("text", "dann"), ("text", "shot"), *(("audio", by) for by in ("bn", "coral", "dann", "shot"))]


@dataclass(frozen=True)
class Case:
    """Labelled samples of one domain, and unlabelled ones of another, as files."""

    config: ProjectConfig
    folder: Path
    unlabelled: str

    def make(self, **changes: object) -> Material:
        config = ProjectConfig.model_validate(self.config.model_dump(mode="json", exclude_none=True) | changes)
        chosen = select_backbone(config.backbone)  # type: ignore[arg-type]
        kept = self.folder / "features", self.folder / "checkpoints"
        return material_for(chosen, self.folder / "samples.csv", self.folder / "data", config, *kept, lambda *_: None)

    def method(self, by: str, **changes: object) -> AdaptMethod:
        own: dict[str, object] = {by: {"recipe": QUICK}} if by in ("dann", "shot") else {}
        content = {"kind": "adapt", "by": by, "unlabelled": self.unlabelled, "source": PROBE, **own}
        return AdaptMethod.model_validate(content | changes)

    def adapt(self, by: str, material: Material | None = None, **changes: object) -> Trained:
        made = material or self.make()
        method = self.method(by, **changes)
        return train_adapted(made, method, METHODS["probe"](made, method.source))


def _case(root: Path, config: ProjectConfig, labelled: list[tuple[bytes, str]], target: list[bytes]) -> Case:
    samples = []
    for folder in ("data", "raw"):
        (root / folder).mkdir()
    for number, (content, label) in enumerate(labelled):
        identity = hashlib.sha256(content).hexdigest()
        (root / "data" / identity).write_bytes(content)
        split: Split = "train" if number < N_TRAIN else "validation"
        samples.append(Sample(identity, identity, label, identity, "default", "", split))
    write_samples(samples, root / "samples.csv")
    inputs = []
    for content in target:
        file = root / "raw" / hashlib.sha256(content).hexdigest()
        file.write_bytes(content)
        inputs.append(RawInput(file.parent, file.name, "other", "2026-11-20", file.name))
    name = add_snapshot(root / "data", inputs, known_content(root / "data", [], config), len(inputs), root / "staging", config.task).name
    return Case(config, root, name)


@pytest.fixture
def texts(tmp_path: Path) -> Case:
    """Sentences; those of the other domain are shouted, and twice as long."""
    config = text_config(write_model(tmp_path / "model"), compute={"precision": "fp32"})
    labelled = [(text.encode(), label) for text, label in sentences(2 * N_TRAIN)]
    target = [f"{text} {text}!".upper().encode() for text, _ in sentences(N_TARGET, seed=9)]
    return _case(tmp_path, config, labelled, target)


@pytest.fixture
def sounds(tmp_path: Path) -> Case:
    """Tones; those of the other domain are quieter."""
    config = audio_config(write_weights(tmp_path / "weights.safetensors"), compute={"precision": "fp32"})
    labelled = [(as_file(sound(label, seed)), label) for seed in range(2 * N_TRAIN) for label in [("high", "low")[seed % 2]]]
    target = [as_file(0.1 * sound(("high", "low")[seed % 2], 500 + seed)) for seed in range(N_TARGET)]
    return _case(tmp_path, config, labelled, target)


@pytest.fixture
def case(request: pytest.FixtureRequest) -> Callable[[str], Case]:
    return lambda task: request.getfixturevalue({"text": "texts", "audio": "sounds"}[task])


@pytest.mark.parametrize(("task", "by"), WAYS)
def test_only_what_the_way_adapts_is_changed_and_the_answers_are_numbers(case: Callable[[str], Case], task: str, by: str) -> None:
    made = case(task).make()
    method = case(task).method(by)
    source = METHODS["probe"](made, method.source)
    before = copied(source.network.state_dict())
    adapted = train_adapted(made, method, source)
    record: Any = adapted.record
    assert (record["by"], record["n_train"], record["n_unlabelled"]) == (by, N_TRAIN, N_TARGET)
    after = adapted.network.state_dict()
    assert list(adapted.network[0].state_dict()) == list(made.fresh_backbone(0.0).state_dict())
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    weights = {name for name in changed if "running" not in name and "num_batches" not in name}
    heads = {"1.weight", "1.bias"}
    expected = {"bn": weights == heads < changed, "coral": changed == heads, "shot": bool(weights) and not weights & heads}
    assert expected.get(by, heads < weights), changed
    assert np.isfinite(embed(adapted.network, target_inputs(made, method))).all()


@pytest.mark.parametrize(("task", "by"), [("text", "coral"), ("audio", "bn"), ("audio", "coral")])
def test_twice_gives_the_same_bits(case: Callable[[str], Case], task: str, by: str) -> None:
    first, second = case(task).adapt(by), case(task).adapt(by)
    assert first.record == second.record
    assert same(first.network.state_dict(), second.network.state_dict())


@pytest.mark.parametrize(("task", "by"), [("text", "dann"), ("text", "shot"), ("audio", "dann"), ("audio", "shot")])
def test_a_killed_adaptation_goes_on_to_the_same_bits(
    case: Callable[[str], Case], task: str, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "_CHECKPOINT_FRAC", 1e9)
    whole = case(task).adapt(by)
    shutil.rmtree(case(task).folder / "checkpoints")
    with pytest.raises(StoppedError):
        case(task).adapt(by, replace(case(task).make(), progress=stopping_at(5)))
    resumed = case(task).adapt(by)
    assert resumed.record == whole.record
    assert same(resumed.network.state_dict(), whole.network.state_dict())


@pytest.mark.parametrize(("task", "policy"), [("text", "token_dropout"), ("audio", "spec_augment")])
def test_samples_of_the_target_are_changed_as_their_kind_allows(case: Callable[[str], Case], task: str, policy: str) -> None:
    """Planted before: what changes images met token ids."""
    made = case(task).make()
    recipe = case(task).method("dann", dann={"recipe": {**QUICK, "augment": {"policy": policy, "magnitude": 1.0}}}).dann.recipe
    target = target_inputs(made, case(task).method("dann"))
    batches = TargetBatches(target, 8, recipe.augment, (), made.selected.preprocess, seed=0)
    changed, cpu = batches.batch(0, 0, 1, torch.device("cpu")), torch.device("cpu")
    plain = replace(batches, augment=recipe.augment.model_copy(update={"policy": "none"})).batch(0, 0, 1, cpu)
    assert changed.shape == plain.shape
    assert not torch.equal(changed.nan_to_num(0.5), plain.nan_to_num(0.5))
    torch.testing.assert_close(changed, batches.batch(0, 0, 1, cpu), equal_nan=True, rtol=0, atol=0)


def test_batch_norms_of_a_transformer_are_missed_before_the_source_is_trained(texts: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    trained: list[str] = []
    monkeypatch.setitem(METHODS, "probe", lambda *_: trained.append("source"))
    with pytest.raises(ConfigurationError, match=r"by: bn for a network without batch norm\. .* transformers of texts have none"):
        METHODS["adapt"](texts.make(), texts.method("bn"))
    assert trained == []


def test_coral_closes_the_distance_between_mean_answers(sounds: Case) -> None:
    """After it the head's mean answer to the target is that to aligned sounds of the source, whose classes are half and half."""
    made, method = sounds.make(), sounds.method("coral")
    source = METHODS["probe"](made, method.source)
    plain = embed(source.network, target_inputs(made, method)).mean(axis=0)
    adapted = embed(sounds.adapt("coral").network, target_inputs(made, method)).mean(axis=0)
    of_source = embed(source.network, made.train).mean(axis=0)
    assert np.abs(adapted - of_source).max() < np.abs(plain - of_source).max()
