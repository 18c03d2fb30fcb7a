from __future__ import annotations

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.config import ProbeMethod
from pipelines.core.bundle import canonical_json
from pipelines.core.errors import ConfigurationError, DataError
from pipelines.training import loop
from pipelines.training.embedding import embed
from pipelines.training.fine_tuning import blocks_open, train_fine_tune, train_gradual, train_lp_ft, train_scratch
from pipelines.training.linear import train_probe
from pipelines.training.material import Deadline, Material, Trained
from pipelines.training.optimization import trainable_groups
from pipelines.training.validation import measure
from tests.pipelines.training.gradient_cases import Limit, copied, same, small_material

TRAINERS: dict[str, Any] = {"lp_ft": train_lp_ft, "fine_tune": train_fine_tune, "gradual": train_gradual, "scratch": train_scratch}


@pytest.fixture
def material(tiny_weights: Path, digits_folder: Path, tmp_path: Path) -> Any:
    """Makes what a method is given."""

    def make(method: dict[str, object], **changes: object) -> Material:
        return small_material(tiny_weights, digits_folder, tmp_path, method, **changes)

    return make


def run(made: Material, deadline: Any = None) -> Trained:
    method: Any = made.config.method
    result: Trained = TRAINERS[method.kind](made, method, deadline=deadline)
    return result


def section(kind: str, **changes: object) -> dict[str, object]:
    few: dict[str, object] = {"kind": kind, "epochs": 2, "batch_size": 16, "augment": {"policy": "none"}}
    return few | changes


def validation_loss(made: Material, trained: Trained) -> float:
    return measure(embed(trained.network, made.validation), made.validation.targets, "one").log_loss


@pytest.mark.parametrize("kind", TRAINERS)
def test_the_record_is_complete_and_true(material: Any, kind: str) -> None:
    made = material(section(kind))
    trained = run(made)
    record = json.loads(canonical_json(trained.record))
    assert record["method"] == kind
    assert record["n_train"] == 40
    assert [row["number"] for row in record["curve"]] == [0, 1, 2]
    assert set(record["curve"][0]) == {"number", "train_loss", "validation_log_loss", "validation_accuracy"}
    best = min(record["curve"], key=lambda row: row["validation_log_loss"])
    assert record["best_epoch"] == best["number"]
    assert validation_loss(made, trained) == pytest.approx(best["validation_log_loss"], rel=1e-6)
    assert record["cut_by_budget"] is None
    assert record["precision"]["name"] == "fp32"
    assert record["flips"] == []
    assert record["micro_batch"] == 16
    assert trained.costs_seconds[kind] > 0
    assert list(trained.network[1].state_dict()) == ["weight", "bias"], "what ships has a linear head"


@pytest.mark.parametrize("frac_of_time", [1e9, 1e-9], ids=["to the end", "to the start"])
@pytest.mark.parametrize("kind", ["lp_ft", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("fine_tune", "gradual", "scratch"))])
def test_a_run_again_is_the_same_record_and_weights(material: Any, kind: str, frac_of_time: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whether it finds the checkpoint after the last epoch, with nothing left to train, or that of the start."""
    monkeypatch.setattr(loop, "_CHECKPOINT_FRAC", frac_of_time)
    made = material(section(kind, dropout=0.2, ema_decay=0.9, after=["greedy_soup", "wise_ft"]))
    first, second = run(made), run(made)
    assert first.record == second.record
    assert same(first.network.state_dict(), second.network.state_dict())


def test_lp_ft_begins_at_the_probe_and_at_no_rate_stays_there(material: Any) -> None:
    made = material(section("lp_ft", learning_rate=1e-12, n_upper_blocks=None))
    trained, probe = run(made), train_probe(made, ProbeMethod())
    images = torch.from_numpy(made.validation.batch(np.arange(20)))
    with torch.inference_mode():
        torch.testing.assert_close(trained.network(images), probe.network.eval()(images), rtol=1e-4, atol=1e-4)
    curve: Any = trained.record["curve"]
    assert curve[0]["validation_log_loss"] == pytest.approx(validation_loss(made, probe), rel=1e-6)
    assert trained.record["probe"] == probe.record["probe"]


def test_lp_ft_of_no_blocks_is_the_probe_to_the_bit(material: Any) -> None:
    made = material(section("lp_ft", n_upper_blocks=0))
    trained, probe = run(made), train_probe(made, ProbeMethod())
    assert same(trained.network.state_dict(), probe.network.state_dict())
    assert [row["number"] for row in trained.record["curve"]] == [0]  # type: ignore[index,union-attr,call-overload]
    assert trained.record["method"] == "lp_ft"


@pytest.mark.parametrize("kind", ["lp_ft", "fine_tune", "gradual"])
@pytest.mark.usefixtures("pleased")
def test_blocks_below_the_trained_ones_stay_to_the_bit(material: Any, kind: str) -> None:
    made = material(section(kind, n_upper_blocks=1, epochs=3, learning_rate=0.01))
    before = copied(made.fresh_backbone(0.0).state_dict())
    trained = run(made)
    backbone = trained.network[0]
    upper = {id(parameter) for group in trainable_groups(backbone, 1) for parameter in group}
    names = {name for name, parameter in backbone.named_parameters() if id(parameter) in upper}
    after = backbone.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    blocks = {name.rsplit(".", 2)[0] for name in names}
    assert {name for name in changed if "running" not in name and "num_batches" not in name} <= names
    assert all(any(name.startswith(block) for block in blocks) for name in changed), "statistics of frozen blocks stay too"
    assert changed & names


def test_fine_tune_of_no_blocks_trains_the_head_alone(material: Any) -> None:
    made = material(section("fine_tune", n_upper_blocks=0, learning_rate=0.05))
    trained = run(made)
    assert same(trained.network[0].state_dict(), made.fresh_backbone(0.0).state_dict())
    assert trained.record["best_epoch"] != 0


def test_more_blocks_than_there_are(material: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"n_upper_blocks 99\. Allowed: 0 to \d"):
        run(material(section("fine_tune", n_upper_blocks=99)))


def test_a_new_head_is_of_the_seed(material: Any) -> None:
    def start(seed: int) -> torch.Tensor:
        torch.manual_seed(seed + 100)
        made = material(section("fine_tune", epochs=1, learning_rate=1e-12, layer_decay=0.01), seed=seed)
        weight: torch.Tensor = run(made).network[1].weight.detach()
        return weight

    torch.testing.assert_close(start(0), start(0))
    assert not torch.allclose(start(0), start(1))


def test_gradual_says_what_it_opened(material: Any, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        record = run(material(section("gradual", epochs=3))).record
    assert record["blocks_opened"] == 2
    assert f"3 epochs open 2 of {record['blocks']} blocks; the lowest stay frozen" in caplog.text
    caplog.clear()
    assert run(material(section("gradual", epochs=5, n_upper_blocks=2))).record["blocks_opened"] == 2
    assert "stay frozen" not in caplog.text


def test_when_blocks_open() -> None:
    assert [blocks_open(epoch, 1) for epoch in range(1, 5)] == [0, 1, 2, 3]
    assert [blocks_open(epoch, 3) for epoch in range(1, 8)] == [0, 0, 0, 1, 1, 1, 2]


def test_scratch_reads_no_pretrained_weights(material: Any) -> None:
    made = material(section("scratch"))

    def refuse(_: float) -> Any:
        raise AssertionError("asked for pretrained weights")

    blind = dataclasses.replace(made, fresh_backbone=refuse, features=refuse)
    assert same(run(blind).network.state_dict(), run(made).network.state_dict())


@pytest.mark.usefixtures("pleased")
def test_scratch_depends_on_the_seed_and_trains_everything(material: Any) -> None:
    def weights(seed: int, learning_rate: float) -> dict[str, torch.Tensor]:
        trained = run(material(section("scratch", epochs=1, learning_rate=learning_rate), seed=seed))
        return {name: parameter.detach() for name, parameter in trained.network.named_parameters()}

    start, end, other = weights(1, 1e-12), weights(1, 0.01), weights(2, 1e-12)
    assert not [name for name in start if torch.equal(start[name], end[name])]
    assert not [name for name in start if start[name].ndim > 1 and torch.allclose(start[name], other[name])]


def test_scratch_has_no_probe_to_ask_about_flips(material: Any) -> None:
    with pytest.raises(ConfigurationError, match=r"flips: auto for scratch, which has no probe.*name the directions"):
        run(material(section("scratch", augment={"policy": "none", "flips": "auto"})))


def test_lp_ft_without_time_is_the_probe_and_says_where_it_was_cut(material: Any) -> None:
    made = material(section("lp_ft", learning_rate=0.1))
    trained, probe = run(made, Limit(2)), train_probe(made, ProbeMethod())
    assert trained.record["cut_by_budget"] == {"epoch": 1, "steps_done": 2}
    assert trained.record["best_epoch"] == 0
    assert same(trained.network.state_dict(), probe.network.state_dict())


@pytest.mark.parametrize("kind", ["fine_tune", "gradual", "scratch"])
def test_a_random_head_never_ships_for_want_of_time(material: Any, kind: str) -> None:
    with pytest.raises(ConfigurationError, match=rf"time budget that ended before method {kind} was better.*raise budget_minutes"):
        run(material(section(kind)), Limit(2))
    with pytest.raises(ConfigurationError, match="raise budget_minutes"):
        run(material(section(kind, budget_minutes=1e-9)))


def test_time_for_some_epochs_gives_the_best_of_them(material: Any) -> None:
    trained = run(material(section("fine_tune", epochs=5, n_upper_blocks=0, learning_rate=0.05)), Limit(7))
    assert trained.record["cut_by_budget"] == {"epoch": 3, "steps_done": 1}
    assert [row["number"] for row in trained.record["curve"]] == [0, 1, 2]  # type: ignore[index,union-attr,call-overload]


def test_a_deadline_that_is_far_changes_nothing(material: Any, tmp_path: Path) -> None:
    made = material(section("lp_ft"))
    far, none = run(made, Deadline(9e9)), run(dataclasses.replace(made, checkpoints=tmp_path / "other"))
    assert far.record == none.record
    assert same(far.network.state_dict(), none.network.state_dict())


@pytest.mark.parametrize("kind", ["lp_ft", "scratch", *(pytest.param(kind, marks=pytest.mark.slow) for kind in ("fine_tune", "gradual"))])
def test_drop_path_acts_and_does_not_ship(material: Any, kind: str) -> None:
    plain, dropped = (run(material(section(kind, n_upper_blocks=None, drop_path=rate, learning_rate=0.01))) for rate in (0.0, 0.5))
    assert plain.network.state_dict().keys() == dropped.network.state_dict().keys()
    assert plain.record["curve"] != dropped.record["curve"]


@pytest.mark.parametrize("kind", ["lp_ft", "gradual"])
def test_flips_auto_asks_a_probe(material: Any, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []

    def tolerated(setting: str, network: Any, validation: Any, labels_per_sample: str) -> tuple[str, ...]:
        asked.append((setting, validation_loss(made, Trained(network, {}))))
        return ("vertical",)

    monkeypatch.setattr("pipelines.training.fine_tuning.tolerated_flips", tolerated)
    made = material(section(kind, epochs=1, augment={"policy": "none", "flips": "auto"}))
    assert run(made).record["flips"] == ["vertical"]
    probe = train_probe(made, ProbeMethod())
    assert asked == [("auto", pytest.approx(validation_loss(made, probe), rel=1e-6))]


def test_a_picture_that_overflows_is_named(material: Any) -> None:
    with pytest.raises(DataError, match=r"(training loss|gradient norm) of (nan|inf) in the batch with \d{4}\.png.*learning_rate"):
        run(material(section("fine_tune", learning_rate=1e30, warmup_frac=0.0)))
