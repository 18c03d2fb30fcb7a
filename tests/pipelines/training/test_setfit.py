from __future__ import annotations

import dataclasses
import hashlib
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from pipelines.backbones import select_backbone
from pipelines.config import ProjectConfig, SetFitMethod, TransformersBackbone
from pipelines.core.errors import DataError
from pipelines.dataset import Sample, Split, write_samples
from pipelines.training import loop, setfit
from pipelines.training.embedding import embed
from pipelines.training.gathering import material_for
from pipelines.training.linear import train_probe
from pipelines.training.material import Deadline, Material, Trained
from pipelines.training.pairs import PairSource
from pipelines.training.setfit import PairLoss, cosine_loss, train_setfit, worse_than_plain
from pipelines.training.step import StepPart
from pipelines.training.validation import ValidationResult, measure
from tests.pipelines.tiny_texts import sentences, text_config, write_word_model
from tests.pipelines.training.gradient_cases import StoppedError, same, stopping_at

# A network that knows nothing takes larger steps than a pretrained one.
QUICK: dict[str, Any] = {"kind": "setfit", "pairs_per_sample": 2, "epochs": 2, "learning_rate": 1e-3, "probe": {"strengths": [0.1]}}


def config_of(model: Path, **changes: object) -> ProjectConfig:
    return text_config(model, method=QUICK | changes, compute={"precision": "fp32"})


def material(model: Path, root: Path, *, n_train: int = 16, shuffled: bool = False, **changes: object) -> Material:
    """Sentences of two vocabularies, as many for validation as for training; shuffled: with labels that mean nothing."""
    config = config_of(model, **changes)
    assert isinstance(config.backbone, TransformersBackbone)
    rng, samples = np.random.default_rng(0), []
    (root / "data").mkdir(exist_ok=True)
    rows = sentences(2 * n_train)
    labels = rng.permutation([label for _, label in rows]) if shuffled else [label for _, label in rows]
    for number, ((text, _), label) in enumerate(zip(rows, labels, strict=True)):
        identity = hashlib.sha256(text.encode()).hexdigest()
        (root / "data" / f"{identity}.txt").write_text(text)
        split: Split = "train" if number < n_train else "validation"
        samples.append(Sample(identity, f"{identity}.txt", str(label), identity, "default", "", split))
    write_samples(samples, root / "samples.csv")
    chosen = select_backbone(config.backbone)
    return material_for(chosen, root / "samples.csv", root / "data", config, root / "f", root / "c", lambda *_: None)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_word_model(tmp_path_factory.mktemp("model") / "bert")


def run(made: Material, deadline: Deadline | None = None) -> Trained:
    method: Any = made.config.method
    return train_setfit(made, method, deadline)


def test_the_loss_by_numpy() -> None:
    rng = np.random.default_rng(0)
    one, other, is_same = rng.normal(size=(7, 5)), rng.normal(size=(7, 5)), np.array([1, 0, 1, 1, 0, 0, 1])
    cosines = (one * other).sum(axis=1) / np.linalg.norm(one, axis=1) / np.linalg.norm(other, axis=1)
    found = cosine_loss(torch.from_numpy(one), torch.from_numpy(other), torch.from_numpy(is_same))
    assert float(found) == pytest.approx(np.mean((cosines - is_same) ** 2), rel=1e-5)
    alike = torch.ones(2, 5)
    assert float(cosine_loss(alike, 3 * alike, torch.tensor([1, 1]))) == pytest.approx(0.0, abs=1e-6)
    assert float(cosine_loss(alike, 3 * alike, torch.tensor([0, 0]))) == pytest.approx(1.0, abs=1e-6)


@pytest.mark.parametrize("n_at_once", [1, 10])
def test_the_loss_of_a_batch_is_that_of_its_texts_one_by_one(model: Path, tmp_path: Path, n_at_once: int) -> None:
    """Texts of different lengths share a forward pass, and each has the features that it has alone."""
    made = material(model, tmp_path)
    backbone = made.fresh_backbone(0.0).eval()
    pairs, loss = PairSource(made.train, 2, seed=0), PairLoss(made.train)
    view = torch.nn.Sequential(backbone, torch.nn.Identity())
    lengths = [made.train.batch([place]).shape[1] for place in range(16)]
    differ = [place for place in range(64) if lengths[place // 4] != lengths[int(pairs.targets[place, 0])]]
    with torch.inference_mode():
        features = torch.cat([backbone(torch.from_numpy(made.train.batch([place]))) for place in range(16)])
        for start in range(0, 10, n_at_once):
            chosen = np.array(differ[start : start + n_at_once])
            targets = torch.from_numpy(pairs.targets[chosen])
            expected = cosine_loss(features[chosen // 4], features[targets[:, 0]], targets[:, 1])
            found = loss(view, torch.from_numpy(pairs.batch(chosen)), targets, StepPart(1, 0, 0, 1))
            assert float(found) == pytest.approx(float(expected), rel=1e-4, abs=1e-5)


def test_it_learns_to_tell_two_vocabularies_apart(model: Path, tmp_path: Path) -> None:
    made = material(model, tmp_path, epochs=4)
    trained = run(made)
    record: Any = trained.record
    assert (record["method"], record["kept"]) == ("setfit", "setfit")
    losses = [row["validation_log_loss"] for row in record["curve"]]
    assert min(losses[1:]) < 0.5 * losses[0], losses
    assert record["curve"][-1]["train_loss"] < 0.7 * record["curve"][1]["train_loss"]
    assert record["pairs"] == {"per_sample": 2, "same_label": 32, "different_labels": 32}
    # What is told of the result is true of the network that ships.
    assert trained.validation_logits is not None
    np.testing.assert_allclose(embed(trained.network, made.validation), trained.validation_logits, rtol=1e-4, atol=1e-4)
    assert measure(trained.validation_logits, made.validation.targets, "one").log_loss == pytest.approx(min(losses), abs=1e-6)
    before = made.fresh_backbone(0.0).state_dict()
    after = trained.network[0].state_dict()
    assert before.keys() == after.keys()
    assert any(not torch.equal(before[name], after[name]) for name in before)


def test_the_last_blocks_alone(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(setfit, "worse_than_plain", lambda *_: "")
    made = material(model, tmp_path, n_upper_blocks=1, epochs=4, learning_rate=5e-3)
    trained, before = run(made), made.fresh_backbone(0.0).state_dict()
    changed = {name for name, tensor in trained.network[0].state_dict().items() if not torch.equal(tensor, before[name])}
    assert changed
    assert all(name.startswith("model.encoder.layer.1.") for name in changed)


def test_twice_gives_the_same_bits_and_a_killed_one_goes_on(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_CHECKPOINT_FRAC", 1e9)
    planned = setfit._plan
    monkeypatch.setattr(setfit, "_plan", lambda *given: dataclasses.replace(planned(*given), seconds_between_checkpoints=0.0))
    whole = run(material(model, tmp_path))
    shutil.rmtree(tmp_path / "c")
    made = material(model, tmp_path)
    with pytest.raises(StoppedError):
        run(dataclasses.replace(made, progress=stopping_at(6)))  # in the middle of the second of two epochs of 4 steps
    assert list((tmp_path / "c").rglob("step-*.safetensors"))
    steps: list[int] = []
    resumed = run(dataclasses.replace(made, progress=lambda activity, done, _: steps.append(done) if activity == "fine-tuning" else None))
    assert min(steps) > 1
    assert resumed.record == whole.record
    assert same(resumed.network.state_dict(), whole.network.state_dict())


def test_what_is_worse_leaves_the_plain_probe_to_the_bit(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a loss that pushes texts of one label apart and pulls the others together."""
    monkeypatch.setattr(setfit, "cosine_loss", lambda one, other, is_same: cosine_loss(one, other, 1 - is_same))
    made = material(model, tmp_path, epochs=1, pairs_per_sample=8, learning_rate=5e-3)
    trained, plain = run(made), train_probe(made, made.config.method.probe)  # type: ignore[union-attr]
    assert trained.record["kept"] == "probe"
    assert "no epoch's probe had a lower log loss on validation" in str(trained.record["reason"])
    assert same(trained.network.state_dict(), plain.network.state_dict())
    np.testing.assert_array_equal(trained.validation_logits, plain.validation_logits)


def test_a_lower_loss_with_more_errors_is_not_kept(model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: of what was tuned every validation answer counts as wrong."""
    seen: list[float] = []

    def measured(made: Material, logits: Any) -> ValidationResult:
        result = measure(logits, made.validation.targets, "one")
        seen.append(result.log_loss)
        is_tuned = result.log_loss < max(seen)
        return dataclasses.replace(result, accuracy=0.0) if is_tuned else result

    monkeypatch.setattr(setfit, "_measured", measured)
    trained = run(material(model, tmp_path))
    record: Any = trained.record
    assert min(row["validation_log_loss"] for row in record["curve"][1:]) < record["curve"][0]["validation_log_loss"]
    assert (record["kept"], record["best_epoch"]) == ("probe", 0)
    assert str(trained.record["reason"]).startswith("kept probe: tuning made validation worse: accuracy 0.00 % against the plain probe's")


@pytest.mark.parametrize(
    ("tuned", "words"),
    [((0.5, 0.9), ""), ((0.4, 0.95), ""), ((0.6, 0.95), "log loss 0.6 against the plain probe's 0.5"), ((0.4, 0.8), "accuracy 80.00 %")],
)
def test_worse_by_loss_or_by_accuracy(tuned: tuple[float, float], words: str) -> None:
    nothing = (np.zeros(0), np.zeros(0, dtype=np.bool_))
    reason = worse_than_plain(ValidationResult(*tuned, *nothing), ValidationResult(0.5, 0.9, *nothing))
    assert words in reason
    assert bool(words) == bool(reason)


def test_a_loss_that_is_no_number_is_worse() -> None:
    nothing = (np.zeros(0), np.zeros(0, dtype=np.bool_))
    assert worse_than_plain(ValidationResult(float("nan"), 1.0, *nothing), ValidationResult(0.5, 0.9, *nothing))


def test_no_time_leaves_the_probe_and_says_so(model: Path, tmp_path: Path) -> None:
    made = material(model, tmp_path)
    record = run(made, Deadline(0.0)).record
    assert record["kept"] == "probe"
    assert record["cut_by_budget"] == {"epoch": 1, "steps_done": 0}
    shutil.rmtree(tmp_path / "c")
    assert run(material(model, tmp_path, budget_minutes=1e-9)).record["cut_by_budget"] == {"epoch": 1, "steps_done": 0}


def test_a_label_of_one_text_has_no_pair(model: Path, tmp_path: Path) -> None:
    made = material(model, tmp_path)
    some = [sample for sample in made.train.samples if sample.label == "cooking"][:5]
    few = [*some, next(sample for sample in made.train.samples if sample.label == "sailing")]
    with pytest.raises(
        DataError, match=r"1 of 'sailing'\. Allowed: at least 2 of every label\. .*a pair of texts with the same label takes two"
    ):
        run(dataclasses.replace(made, train=dataclasses.replace(made.train, samples=few)))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels_per_sample": "many"}, r"method setfit with labels_per_sample: many; it is for one, .*with many take auto, probe"),
        ({"compute": {"processes": 2}}, r"method setfit runs in one process, not in 2; set compute\.processes: 1, or take lp_ft"),
        ({"method": QUICK | {"pairs_per_sample": 0}}, "pairs_per_sample"),
        ({"method": QUICK | {"label_smoothing": 0.1}}, "label_smoothing"),
        ({"task": "image", "backbone": {"kind": "shipped"}}, r"method setfit is not there for task: image; take auto, probe"),
        (
            {
                "task": "image",
                "backbone": {"kind": "shipped"},
                "method": {"kind": "adapt", "source": QUICK, "unlabelled": "0" * 16},
                "gates": [{"kind": "goldens"}, {"kind": "adaptation"}],
            },
            r"method setfit is not there for task: image",
        ),
    ],
    ids=["many", "processes", "no pairs", "another method's key", "images", "source of adapt"],
)
def test_what_the_configuration_refuses(model: Path, changes: dict[str, object], words: str) -> None:
    with pytest.raises(ValidationError, match=words):
        text_config(model, **({"method": QUICK} | changes))


def test_its_defaults_are_a_whole_section(model: Path) -> None:
    config = text_config(model, method={"kind": "setfit"})
    assert config.method == SetFitMethod(kind="setfit")
    assert ProjectConfig.model_validate(config.model_dump(mode="json")) == config
