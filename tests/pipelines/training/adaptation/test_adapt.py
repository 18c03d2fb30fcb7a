from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.config import AdaptMethod
from pipelines.core.bundle import canonical_json
from pipelines.core.errors import ConfigurationError, DataError
from pipelines.dataset import read_samples
from pipelines.known_content import KnownContent
from pipelines.training import loop
from pipelines.training.adaptation.adapt import has_own_statistics, target_inputs, train_adapted
from pipelines.training.embedding import embed
from pipelines.training.material import Material, Trained
from pipelines.training.train import METHODS
from pipelines.unlabelled import RawInput, add_snapshot
from tests.pipelines.training.gradient_cases import StoppedError, copied, same, small_material, stopping_at

WAYS = ("bn", "coral", "dann", "shot")
PROBE: dict[str, object] = {"kind": "probe", "strengths": [0.1]}
QUICK: dict[str, object] = {"epochs": 2, "batch_size": 16}


@dataclasses.dataclass(frozen=True)
class Case:
    """Labelled digits, and the same number of inverted, unlabelled ones."""

    make: Callable[..., Material]
    unlabelled: str

    def method(self, by: str, **changes: object) -> AdaptMethod:
        own: dict[str, object] = {by: {"recipe": QUICK}} if by in ("dann", "shot") else {}
        content = {"kind": "adapt", "by": by, "unlabelled": self.unlabelled, "source": PROBE, **own}
        return AdaptMethod.model_validate(content | changes)

    def adapt(self, by: str, material: Material | None = None, **changes: object) -> Trained:
        method, made = self.method(by, **changes), material or self.make()
        return train_adapted(made, method, self.source(made, method))

    def source(self, material: Material, method: AdaptMethod) -> Trained:
        return METHODS[method.source.kind](material, method.source)


@pytest.fixture
def case(tiny_weights: Path, digits_folder: Path, tmp_path: Path) -> Case:
    folder = tmp_path / "digits"
    shutil.copytree(digits_folder, folder)
    (tmp_path / "raw").mkdir()
    inputs = [_inverted(folder / "data" / sample.path, tmp_path / "raw") for sample in read_samples(folder / "samples.csv", "train")[:48]]
    name = add_snapshot(folder / "data", inputs, KnownContent(folder / "data", []), 48, tmp_path / "staging").name

    def make(**changes: object) -> Material:
        return small_material(tiny_weights, folder, tmp_path, PROBE, **changes)

    return Case(make, name)


def _inverted(file: Path, folder: Path) -> RawInput:
    from PIL import Image, ImageOps

    ImageOps.invert(Image.open(file)).save(folder / "unnamed", "PNG")
    digest = hashlib.sha256((folder / "unnamed").read_bytes()).hexdigest()
    (folder / "unnamed").rename(folder / digest)
    return RawInput(folder, digest, "inverted", "2026-11-20")


@pytest.mark.parametrize("by", WAYS)
def test_what_ships_is_a_backbone_and_a_linear_head_and_the_record_is_complete(case: Case, by: str) -> None:
    adapted = case.adapt(by)
    assert list(adapted.network[1].state_dict()) == ["weight", "bias"]
    assert list(adapted.network[0].state_dict()) == list(case.make().fresh_backbone(0.0).state_dict())
    record = json.loads(canonical_json(adapted.record))
    assert record["method"] == "adapt"
    assert (record["by"], record["n_unlabelled"], record["unlabelled"]) == (by, 48, case.unlabelled)
    assert record["source"]["method"] == "probe"
    assert record["cut_by_budget"] is None
    assert adapted.costs_seconds[f"adapt {by}"] > 0


@pytest.mark.parametrize("by", WAYS)
def test_twice_gives_the_same_bits(case: Case, by: str, monkeypatch: pytest.MonkeyPatch) -> None:
    first = case.adapt(by)
    # Without checkpoints that it could go on from.
    monkeypatch.setattr("pipelines.training.checkpoint.CheckpointFolder.load", lambda _: None)
    second = case.adapt(by)
    assert first.record == second.record
    assert same(first.network.state_dict(), second.network.state_dict())


@pytest.mark.parametrize("by", WAYS)
def test_something_is_adapted_and_only_what_the_way_adapts(case: Case, by: str) -> None:
    made = case.make()
    source = case.source(made, case.method(by))
    before = copied(source.network.state_dict())
    after = case.adapt(by, made).network.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    weights = {name for name in changed if "running" not in name and "num_batches" not in name}
    heads = {"1.weight", "1.bias"}
    if by == "bn":  # under a probe the norms kept what they were pretrained with, so the head is fitted anew
        assert weights == heads
        assert changed > weights
    elif by == "coral":
        assert changed == heads
    elif by == "shot":
        assert weights
        assert not weights & heads
    else:
        assert heads < weights


@pytest.mark.parametrize("by", ["dann", "shot"])
@pytest.mark.parametrize("n_steps", [1, 3, 5])
def test_a_killed_adaptation_goes_on_to_the_same_bits(case: Case, by: str, n_steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_CHECKPOINT_FRAC", 1e9)
    whole = case.adapt(by)
    shutil.rmtree(case.make().checkpoints)
    killed = dataclasses.replace(case.make(), progress=stopping_at(n_steps))
    with pytest.raises(StoppedError):
        case.adapt(by, killed)
    resumed = case.adapt(by)
    assert resumed.record == whole.record
    assert same(resumed.network.state_dict(), whole.network.state_dict())


@pytest.mark.parametrize("by", ["dann", "shot"])
def test_the_last_epoch_is_kept_whatever_validation_says(case: Case, by: str) -> None:
    """Validation is of the source: it would choose the start, and nothing would ever be adapted."""
    record: Any = case.adapt(by, **{by: {"recipe": {**QUICK, "learning_rate": 0.05, "epochs": 3}}}).record
    assert record["best_epoch"] == 3
    losses = [row["validation_log_loss"] for row in record["curve"]]
    assert losses[3] > min(losses)


def test_other_unlabelled_samples_are_another_training(case: Case, tmp_path: Path) -> None:
    """A checkpoint of one must not be gone on with in the other: the result is that of a fresh folder."""
    case.adapt("dann")
    made = case.make()
    data = made.train.data
    few = target_inputs(made, case.method("dann")).samples[:20]
    inputs = [RawInput(tmp_path / "raw", item.id, "inverted", "2026-11-20") for item in few]
    name = add_snapshot(data, inputs, KnownContent(data, []), 48, tmp_path / "staging").name
    after_other = case.adapt("dann", unlabelled=name)
    shutil.rmtree(made.checkpoints)
    assert same(after_other.network.state_dict(), case.adapt("dann", unlabelled=name).network.state_dict())


def test_coral_takes_target_features_as_they_are(case: Case) -> None:
    """The head's mean answer to aligned source features is its mean answer to the target's: both have the same mean."""
    made = case.make()
    method = case.method("coral")
    adapted = train_adapted(made, method, case.source(made, method))
    backbone, head = adapted.network
    target = embed(backbone, target_inputs(made, method))
    from pipelines.training.adaptation.coral import coral_alignment

    source = embed(backbone, made.train)
    aligned = coral_alignment(source, target, 1.0).apply(source)
    with torch.inference_mode():
        means = [head(torch.from_numpy(rows)).mean(dim=0) for rows in (aligned, target)]
    torch.testing.assert_close(means[0], means[1], atol=1e-3, rtol=1e-3)
    assert adapted.validation_logits is not None
    assert adapted.validation_logits.shape == (len(made.validation), 4)


def test_bn_leaves_the_head_of_a_source_with_statistics_of_its_own(case: Case) -> None:
    live = {"kind": "fine_tune", "epochs": 1, "batch_size": 16, "augment": {"policy": "none"}}
    assert case.adapt("bn", source=live).record["head_refitted"] is False
    assert case.adapt("bn").record["head_refitted"] is True
    changed = {**live, "augment": {"policy": "shift_scale_rotate"}}
    assert case.adapt("bn", source=changed).record["head_refitted"] is True, "augmented samples have other statistics"
    sources = {kind: AdaptMethod.model_validate({"kind": "adapt", "source": {"kind": kind}}).source for kind in ("lp_ft", "auto", "probe")}
    assert not any(has_own_statistics(source) for source in sources.values())


@pytest.mark.parametrize(
    ("augment", "is_plain"),
    [
        ({}, True),
        ({"gain_db": 12}, False),
        ({"flips": "auto"}, False),
        ({"flips": "horizontal"}, False),
        ({"mixup_alpha": 0.2}, False),
        ({"cutmix_alpha": 0.2}, False),
        ({"policy": "spec_augment"}, False),
    ],
)
def test_statistics_of_changed_samples_are_not_the_source_s_own(augment: dict[str, object], is_plain: bool) -> None:
    source = {"kind": "fine_tune", "augment": {"policy": "none", **augment}}
    assert has_own_statistics(AdaptMethod.model_validate({"kind": "adapt", "source": source}).source) is is_plain


def test_validation_of_bn_is_under_the_source_s_statistics(case: Case) -> None:
    made = case.make()
    live = {"kind": "fine_tune", "epochs": 1, "batch_size": 16, "augment": {"policy": "none"}}
    method = case.method("bn", source=live)
    source = case.source(made, method)
    expected = embed(source.network, made.validation)
    adapted = train_adapted(made, method, source)
    assert adapted.validation_logits is not None
    np.testing.assert_array_equal(adapted.validation_logits, expected)


def test_no_unlabelled_samples_named(case: Case) -> None:
    with pytest.raises(ConfigurationError, match=r"method adapt without unlabelled samples\. .*regraft retrain --adapt"):
        case.adapt("bn", unlabelled=None)


def test_too_few_unlabelled_samples(case: Case, tmp_path: Path) -> None:
    data = case.make().train.data
    inputs = [RawInput(file.parent, file.name, "inverted", "") for file in sorted((tmp_path / "raw").iterdir())[:15]]
    name = add_snapshot(data, inputs, KnownContent(data, []), 48, tmp_path / "staging").name
    with pytest.raises(DataError, match=rf"15 unlabelled samples in {name}\. Allowed: at least 16"):
        case.adapt("bn", unlabelled=name)


def test_too_few_unlabelled_samples_are_known_before_the_source_is_trained(
    case: Case, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = case.make()
    data = made.train.data
    inputs = [RawInput(file.parent, file.name, "inverted", "") for file in sorted((tmp_path / "raw").iterdir())[:15]]
    name = add_snapshot(data, inputs, KnownContent(data, []), 48, tmp_path / "staging").name
    trained: list[str] = []
    monkeypatch.setitem(METHODS, "probe", lambda *_: trained.append("source"))
    with pytest.raises(DataError, match="15 unlabelled samples"):
        METHODS["adapt"](made, case.method("bn", unlabelled=name))
    assert trained == []


@pytest.mark.parametrize("by", ["dann", "shot"])
def test_several_processes_are_refused(case: Case, by: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"by: {by} and compute\.processes: 2\. Allowed: one process"):
        case.adapt(by, case.make(compute={"processes": 2, "precision": "fp32"}))


def test_shot_of_any_number_of_labels_is_refused(case: Case) -> None:
    made = case.make()
    many = dataclasses.replace(made, config=made.config.model_copy(update={"labels_per_sample": "many"}))
    method = case.method("shot")
    with pytest.raises(ConfigurationError, match=r"by: shot and labels_per_sample: many"):
        train_adapted(many, method, case.source(made, method))
