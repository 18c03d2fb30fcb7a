from __future__ import annotations

import dataclasses
import logging
from pathlib import Path
from typing import Any

import pytest
import torch

from pipelines.training.boundary import BoundaryActivations
from pipelines.training.fine_tuning import train_lp_ft
from pipelines.training.linear import train_probe
from pipelines.training.material import Material
from pipelines.training.runtime import Runtime
from pipelines.training.sources import Sources, sources_for
from tests.pipelines.training.gradient_cases import small_material

CPU = Runtime(torch.device("cpu"))


@pytest.fixture
def made(tiny_weights: Path, digits_folder: Path, tmp_path: Path) -> Any:
    """Makes what a method is given."""

    def make(**changes: object) -> Material:
        method = {"kind": "lp_ft", "epochs": 2, "batch_size": 16, "n_upper_blocks": 1, "augment": {"policy": "none"}} | changes
        return small_material(tiny_weights, digits_folder, tmp_path, method)

    return make


def sources(material: Material, flips: tuple[Any, ...] = (), drop_path: float = 0.0) -> Sources:
    method: Any = material.config.method
    network = train_probe(material, method.probe).network
    if drop_path:
        network[0] = material.fresh_backbone(drop_path)
    return sources_for(material, method, network, flips, torch.from_numpy(material.train.batch(range(8))), CPU)


def test_frozen_blocks_are_computed_once(made: Any) -> None:
    found = sources(made())
    assert isinstance(found.train, BoundaryActivations)
    assert isinstance(found.validation, BoundaryActivations)
    assert found.preprocess is None


@pytest.mark.parametrize(
    ("changes", "flips", "drop_path", "why"),
    [
        ({"augment": {"policy": "rand_augment"}}, (), 0.0, "images change from one to the next"),
        ({"augment": {"policy": "none", "mixup_alpha": 0.1}}, (), 0.0, "images change from one to the next"),
        ({"augment": {"policy": "none", "cutmix_alpha": 0.1}}, (), 0.0, "images change from one to the next"),
        ({}, ("horizontal",), 0.0, "images change from one to the next"),
        ({}, (), 0.3, "cannot be kept"),
        ({"n_upper_blocks": None}, (), 0.0, ""),
    ],
)
def test_otherwise_images_and_the_reason(
    made: Any, changes: dict[str, object], flips: tuple[str, ...], drop_path: float, why: str, caplog: pytest.LogCaptureFixture
) -> None:
    material = made(**changes)
    with caplog.at_level(logging.INFO):
        found = sources(material, flips, drop_path)
    assert found.train is material.train
    assert found.preprocess == material.selected.preprocess
    assert why in caplog.text


def test_a_backbone_that_cannot_be_cut_is_said(made: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    monkeypatch.setattr("pipelines.training.sources.split_backbone", lambda *_: None)
    material = made()
    assert sources(material).train is material.train
    assert "cannot be kept" in caplog.text


class _Other(Runtime):
    """One of two, of which the other says that it could not cut the backbone."""

    def any(self, flag: bool) -> bool:
        return True

    def main_first(self) -> Any:
        raise AssertionError("the other process does not come here")


def test_what_another_process_cannot_cut_is_cut_by_none(made: Any) -> None:
    material = made()
    method: Any = material.config.method
    network, example = train_probe(material, method.probe).network, torch.from_numpy(material.train.batch(range(8)))
    assert sources_for(material, method, network, (), example, _Other(torch.device("cpu"))).train is material.train


def test_where_training_activations_cannot_be_kept_validation_s_are_not_computed(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []
    monkeypatch.setattr("pipelines.training.sources.cached_boundary", lambda _, inputs, *__: asked.append(inputs))
    material = made()
    assert sources(material).train is material.train
    assert asked == [material.train]


@pytest.mark.parametrize("freeze_batch_norm", [True, False])
def test_the_result_is_the_same_up_to_rounding(made: Any, monkeypatch: pytest.MonkeyPatch, freeze_batch_norm: bool, tmp_path: Path) -> None:
    material = made(freeze_batch_norm=freeze_batch_norm, dropout=0.3, ema_decay=0.9)
    method: Any = material.config.method
    with_cache = train_lp_ft(material, method)
    monkeypatch.setattr("pipelines.training.sources.split_backbone", lambda *_: None)
    without = train_lp_ft(dataclasses.replace(material, checkpoints=tmp_path / "other"), method)
    assert (with_cache.record["cached_activations"], without.record["cached_activations"]) == (True, False)
    for key in ("train_loss", "validation_log_loss"):
        one, other = ([row[key] or 0.0 for row in trained.record["curve"]] for trained in (with_cache, without))  # type: ignore[index,union-attr,call-overload]
        assert one == pytest.approx(other, rel=1e-3)
    for name, tensor in with_cache.network.state_dict().items():
        torch.testing.assert_close(without.network.state_dict()[name], tensor, rtol=1e-2, atol=1e-4)


def test_files_are_read_once_for_all_epochs(made: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    material = made(epochs=3)
    method: Any = material.config.method
    train_probe(material, method.probe)
    seen: list[int] = []
    real = type(material.train).batch

    def counting(self: Any, indices: Any) -> Any:
        seen.append(len(list(indices)))
        return real(self, indices)

    monkeypatch.setattr(type(material.train), "batch", counting)
    train_lp_ft(material, method)
    n_whole_passes = sum(seen) / (len(material.train) + len(material.validation))
    assert n_whole_passes < 3.5, "features, activations, and examples; never once an epoch"
