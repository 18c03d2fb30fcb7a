from __future__ import annotations

import json
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.backbones import select_backbone
from pipelines.config import AutoMethod, LpFtMethod, ProjectConfig, TimmBackbone
from pipelines.core.errors import DataError
from pipelines.progress import silent
from pipelines.training import auto, time_plan
from pipelines.training.auto import train_auto
from pipelines.training.embedding import embed
from pipelines.training.gathering import material_for
from pipelines.training.material import Deadline, Material, Trained
from pipelines.training.rungs import rungs_of
from pipelines.training.runtime import Runtime
from pipelines.training.spent_time import SpentTime
from pipelines.training.validation import measure
from tests.pipelines.conftest import tiny_config

UPPER, ALL = "lp_ft (last block)", "lp_ft (all blocks)"


def section(**changes: Any) -> AutoMethod:
    fine_tune = {
        "kind": "lp_ft",
        "n_upper_blocks": 1,
        "epochs": 2,
        "batch_size": 32,
        "learning_rate": 3e-3,
        "probe": {"strengths": [0.1]},
        "augment": {"policy": "none"},
    }
    values = {"kind": "auto", "probe": {"strengths": [0.1]}, "fine_tune": fine_tune | changes.pop("fine_tune", {})}
    return AutoMethod.model_validate(values | changes)


@pytest.fixture
def material(tiny_weights: Path, digits_folder: Path, tmp_path: Path) -> Material:
    return make_material(tiny_config(tiny_weights), digits_folder, tmp_path)


def make_material(config: ProjectConfig, digits_folder: Path, root: Path) -> Material:
    assert isinstance(config.backbone, TimmBackbone)
    places = (digits_folder / "samples.csv", digits_folder / "data")
    return material_for(select_backbone(config.backbone), *places, config, root / "features", root / "checkpoints", silent)


def rows(trained: Trained) -> dict[str, dict[str, Any]]:
    return {row["way"]: row for row in trained.record["tried"]}  # type: ignore[union-attr, index, call-overload, misc]


def better_by(gain: float, calls: list[str]) -> Callable[..., Trained]:
    """A fine-tuning that costs nothing: pulls the probe's validation logits towards the truth."""

    def train(material: Material, method: LpFtMethod, deadline: Deadline | None = None) -> Trained:
        calls.append("all" if method.n_upper_blocks is None else f"last {method.n_upper_blocks}")
        probe = auto.train_probe(material, method.probe)
        amount = gain * (2 if method.n_upper_blocks is None else 1)
        logits = embed(probe.network, material.validation)
        logits += amount * np.eye(logits.shape[1], dtype=np.float32)[material.validation.targets]
        return Trained(probe.network, {"method": "lp_ft", "epochs": method.epochs}, validation_logits=logits)

    return train


@pytest.fixture
def no_wise_ft(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_plan.TimePlan, "allows_wise_ft", lambda *_: False)


def test_it_never_ends_worse_than_the_probe_and_says_what_it_did(material: Material) -> None:
    trained = train_auto(material, section())
    found = rows(trained)
    assert list(found)[:3] == ["prototype", "probe", UPPER]
    kept = found[str(trained.record["kept"])]
    assert kept["outcome"] == "kept"
    assert trained.record["reason"] == f"kept {kept['way']}: {kept['reason']}"
    assert kept["log_loss"] <= found["probe"]["log_loss"]
    assert kept["accuracy"] >= found["probe"]["accuracy"]
    assert not trained.record["cut_by_budget"]
    assert all(row["reason"] for row in found.values())
    # What ships is what was judged.
    shipped = measure(embed(trained.network, material.validation), material.validation.targets, "one")
    assert shipped.log_loss == pytest.approx(kept["log_loss"], rel=1e-4)
    assert set(trained.costs_seconds) == {"features", *(name for name, row in found.items() if row["outcome"] != "skipped")}
    json.dumps(trained.record, allow_nan=False)


def test_all_blocks_are_tried_after_a_gain(material: Material, monkeypatch: pytest.MonkeyPatch, no_wise_ft: None) -> None:
    calls: list[str] = []
    monkeypatch.setattr(auto, "train_lp_ft", better_by(1.0, calls))
    trained = train_auto(material, section())
    assert calls == ["last 1", "all"]
    assert trained.record["kept"] == ALL
    assert rows(trained)[UPPER]["reason"].endswith("more than one standard error")
    assert rows(trained)[f"{ALL}, wise_ft"]["reason"] == "the budget left no time for it"


@pytest.mark.parametrize("gain", [0.0, -1.0])
def test_without_a_gain_of_the_upper_blocks_the_probe_is_kept_and_no_more_is_tried(
    material: Material, monkeypatch: pytest.MonkeyPatch, gain: float
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(auto, "train_lp_ft", better_by(gain, calls))
    trained = train_auto(material, section())
    assert calls == ["last 1"]
    assert trained.record["kept"] in ("probe", "prototype")
    assert rows(trained)[ALL]["reason"].endswith("over the probe, not more than one standard error")


def test_where_the_probe_leaves_nothing_nothing_is_trained(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[str] = []
    monkeypatch.setattr(auto, "train_lp_ft", better_by(1.0, calls))
    monkeypatch.setattr(auto, "nothing_to_gain", lambda result: "nothing")
    trained = train_auto(material, section())
    assert not calls
    assert {rows(trained)[name]["reason"] for name in (UPPER, ALL)} == {"nothing"}


def test_no_block_to_train_is_the_frozen_ways_alone(material: Material) -> None:
    assert set(rows(train_auto(material, section(fine_tune={"n_upper_blocks": 0})))) == {"prototype", "probe"}


def test_a_loss_that_is_not_finite_gives_up_that_way_alone(
    material: Material, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def failing(*_: object, **__: object) -> Trained:
        raise DataError(got="a training loss of nan in the batch with 7.png.", allowed="a finite loss.", next_step="lower it.")

    monkeypatch.setattr(auto, "train_lp_ft", failing)
    trained = train_auto(material, section())
    assert trained.record["kept"] in ("probe", "prototype")
    assert rows(trained)[UPPER]["reason"] == "given up: a training loss of nan in the batch with 7.png."
    assert rows(trained)[ALL]["reason"] == f"{UPPER} was not tried"
    assert f"{UPPER} was given up: a training loss of nan" in caplog.text


def test_a_budget_too_short_for_one_epoch_leaves_the_frozen_ways(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_plan, "epoch_seconds", lambda *_: 1e9)
    trained = train_auto(material, section())
    assert trained.record["kept"] in ("probe", "prototype")
    assert trained.record["cut_by_budget"]
    assert rows(trained)[UPPER] == {
        "way": UPPER,
        "outcome": "skipped",
        "reason": "the budget left no time for one epoch",
        "cut_by_budget": True,
    }


def test_a_short_budget_plans_fewer_epochs_and_says_so(material: Material, monkeypatch: pytest.MonkeyPatch, no_wise_ft: None) -> None:
    monkeypatch.setattr(auto, "train_lp_ft", better_by(1.0, []))
    monkeypatch.setattr(time_plan, "epoch_seconds", lambda *_: 60.0)
    trained = train_auto(material, section(budget_minutes=5.5, fine_tune={"epochs": 12}))
    assert rows(trained)[UPPER]["detail"]["epochs"] == 4  # of 5.5 minutes nine tenths are planned with
    assert rows(trained)[UPPER]["cut_by_budget"]


def test_the_sections_own_budget_counts_too(material: Material, monkeypatch: pytest.MonkeyPatch, no_wise_ft: None) -> None:
    monkeypatch.setattr(auto, "train_lp_ft", better_by(1.0, []))
    monkeypatch.setattr(time_plan, "epoch_seconds", lambda *_: 60.0)
    trained = train_auto(material, section(budget_minutes=60, fine_tune={"epochs": 12, "budget_minutes": 3.5}))
    assert rows(trained)[UPPER]["detail"]["epochs"] == 3


def state(trained: Trained) -> dict[str, torch.Tensor]:
    return dict(trained.network.state_dict())


def equal(first: Trained, second: Trained) -> bool:
    one, other = state(first), state(second)
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


class KilledError(Exception):
    pass


def test_a_killed_search_goes_on_to_the_same_result_and_repeats_nothing(
    material: Material, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = section(fine_tune={"n_upper_blocks": 1, "epochs": 2})
    whole = train_auto(replace(material, checkpoints=tmp_path / "whole"), method)
    real = auto.train_lp_ft
    calls: list[int | None] = []

    def killed_in_the_second(material: Material, method: LpFtMethod, deadline: Deadline | None = None) -> Trained:
        calls.append(method.n_upper_blocks)
        raise KilledError("killed")

    monkeypatch.setattr(auto, "train_lp_ft", killed_in_the_second)
    with pytest.raises(KilledError, match="killed"):
        train_auto(material, method)
    monkeypatch.setattr(auto, "train_lp_ft", real)
    monkeypatch.setattr(auto, "train_probe", lambda *_: pytest.fail("the probe was there"))
    monkeypatch.setattr(auto, "train_prototype", lambda *_: pytest.fail("the prototype was there"))
    resumed = train_auto(material, method)
    assert calls == [1]
    assert resumed.record == whole.record
    assert equal(resumed, whole)


@pytest.mark.slow
def test_after_kill_9_in_the_middle_of_a_fine_tuning_the_result_is_that_of_a_run_never_killed(
    tiny_weights: Path, digits_folder: Path, tmp_path: Path
) -> None:
    config = tiny_config(tiny_weights)
    whole = train_auto(make_material(config, digits_folder, tmp_path / "whole"), section(fine_tune={"epochs": 3}))
    program = textwrap.dedent(f"""
        import os, signal
        from dataclasses import replace
        from pathlib import Path
        from pipelines.training.auto import train_auto
        from tests.pipelines.conftest import tiny_config
        from tests.pipelines.training.test_auto import make_material, section

        def die(activity, done, total):
            if activity == "fine-tuning" and done > total // 2:
                os.kill(os.getpid(), signal.SIGKILL)

        material = make_material(tiny_config(Path({str(tiny_weights)!r})), Path({str(digits_folder)!r}), Path({str(tmp_path / "killed")!r}))
        train_auto(replace(material, progress=die), section(fine_tune={{"epochs": 3}}))
    """)
    killed = subprocess.run([sys.executable, "-c", program], cwd=Path(__file__).resolve().parents[3], check=False)
    assert killed.returncode == -signal.SIGKILL
    finished = tmp_path / "killed" / "checkpoints" / "finished"
    assert sorted(path.name for path in finished.iterdir()) == ["probe", "prototype"]
    resumed = train_auto(make_material(config, digits_folder, tmp_path / "killed"), section(fine_tune={"epochs": 3}))
    assert resumed.record == whole.record
    assert equal(resumed, whole)


def test_finished_ways_come_back_from_disk_with_their_costs(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    first = train_auto(material, section())
    for name in ("train_lp_ft", "train_probe", "train_prototype", "wise_ft"):
        monkeypatch.setattr(auto, name, lambda *_, **__: pytest.fail("it was there"))
    second = train_auto(material, section())
    assert first.record == second.record
    assert equal(first, second)
    assert {**first.costs_seconds, "features": 0} == {**second.costs_seconds, "features": 0}


def test_what_earlier_processes_spent_counts(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(auto, "train_lp_ft", better_by(1.0, []))
    train_auto(material, section(fine_tune={"n_upper_blocks": 0}))
    record = material.checkpoints / "finished" / "probe" / "way.json"
    record.write_text(json.dumps(json.loads(record.read_bytes()) | {"seconds": 600.0}))
    trained = train_auto(material, section(budget_minutes=10))
    assert rows(trained)[UPPER]["reason"] == "the budget left no time for one epoch"


def test_the_probe_below_a_fine_tuning_is_the_very_same_without_its_search(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[LpFtMethod] = []

    def keep(material: Material, method: LpFtMethod, deadline: Deadline | None = None) -> Trained:
        asked.append(method)
        return auto.train_probe(material, method.probe)

    monkeypatch.setattr(auto, "train_lp_ft", keep)
    strengths = {"strengths": [0.001, 0.1, 1.0]}
    trained = train_auto(material, section(probe=strengths, fine_tune={"probe": strengths}))
    found = rows(trained)
    assert asked[0].probe.strengths == (found["probe"]["detail"]["probe"]["strength"],)
    assert found[UPPER]["log_loss"] == pytest.approx(found["probe"]["log_loss"], rel=1e-4)
    train_auto(replace(material, checkpoints=material.checkpoints / "other"), section(probe=strengths))
    assert asked[1].probe.strengths == (0.1,)


def test_wise_ft_of_the_best_is_never_worse_than_either_end(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    def fitted_less_strictly(material: Material, method: LpFtMethod, deadline: Deadline | None = None) -> Trained:
        probe = auto.train_probe(material, section(probe={"strengths": [1.0]}).probe)
        return Trained(probe.network, {"method": "lp_ft", "curve": []})

    monkeypatch.setattr(auto, "train_lp_ft", fitted_less_strictly)
    found = rows(train_auto(material, section(probe={"strengths": [1e-4]})))
    way, name = next((name.removesuffix(", wise_ft"), name) for name in found if name.endswith(", wise_ft"))
    assert found[name]["log_loss"] <= min(found["probe"]["log_loss"], found[way]["log_loss"]) + 1e-9
    assert 0 <= found[name]["detail"]["wise_ft"]["alpha"] <= 1


def test_many_labels_a_sample(tiny_weights: Path, digits_folder: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_weights, labels_per_sample="many")
    material = make_material(config, digits_folder, tmp_path)
    trained = train_auto(material, section(fine_tune={"epochs": 1}))
    kept = rows(trained)[str(trained.record["kept"])]
    shipped = measure(embed(trained.network, material.validation), material.validation.targets, "many")
    assert shipped.log_loss == pytest.approx(kept["log_loss"], rel=1e-4)


def test_rungs() -> None:
    configured = LpFtMethod(kind="lp_ft", n_upper_blocks=2)
    assert [rung.name for rung in rungs_of(configured)] == ["lp_ft (last 2 blocks)", ALL]
    assert [rung.section.n_upper_blocks for rung in rungs_of(configured)] == [2, None]
    assert [rung.name for rung in rungs_of(LpFtMethod(kind="lp_ft", n_upper_blocks=None, after=("wise_ft",)))] == [
        "lp_ft (all blocks, wise_ft)"
    ]
    assert rungs_of(LpFtMethod(kind="lp_ft", n_upper_blocks=0)) == ()


def test_of_several_processes_each_trains_its_part_and_one_validates(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_plan, "_timed", lambda step: float(step() * 0) + 16.0)
    fine_tune = section().fine_tune
    one = time_plan.epoch_seconds(material, fine_tune, Runtime(torch.device("cpu")))
    four = time_plan.epoch_seconds(material, fine_tune, replace(Runtime(torch.device("cpu")), n_processes=4))
    assert one == pytest.approx(len(material.train) + len(material.validation))
    assert four == pytest.approx(len(material.train) / 4 + len(material.validation))


def out_of_memory_above(size: int, seen: list[int]) -> Callable[..., torch.Tensor]:
    def backward(network: torch.nn.Module, batch: torch.Tensor, runtime: Runtime) -> torch.Tensor:
        seen.append(len(batch))
        if len(batch) > size:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return torch.zeros(())

    return backward


def test_a_timed_step_that_does_not_fit_is_halved(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []
    monkeypatch.setattr(time_plan, "_backward", out_of_memory_above(4, seen))
    assert time_plan.epoch_seconds(material, section().fine_tune, Runtime(torch.device("cpu"))) > 0
    assert seen == [16, 8, 4, 4]


def test_the_timed_step_is_no_larger_than_the_micro_batch(
    tiny_weights: Path, digits_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[int] = []
    monkeypatch.setattr(time_plan, "_backward", out_of_memory_above(99, seen))
    material = make_material(tiny_config(tiny_weights, compute={"micro_batch_size": 3}), digits_folder, tmp_path)
    time_plan.epoch_seconds(material, section().fine_tune, Runtime(torch.device("cpu")))
    assert set(seen) == {3}


def test_a_step_that_never_fits_leaves_the_frozen_ways(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(time_plan, "_backward", out_of_memory_above(0, []))
    trained = train_auto(material, section())
    assert trained.record["kept"] in ("probe", "prototype")
    assert "one sample that does not fit into memory" in rows(trained)[UPPER]["reason"]
    assert not trained.record["cut_by_budget"]


def test_a_kill_gives_no_new_time(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    def killed(*_: object, **__: object) -> Trained:
        raise KilledError("killed")

    monkeypatch.setattr(auto, "train_probe", killed)
    with pytest.raises(KilledError, match="killed"):
        train_auto(material, section())
    monkeypatch.undo()
    spent = material.checkpoints / "spent.json"
    assert json.loads(spent.read_bytes())["seconds"] > 0
    spent.write_text(json.dumps({"seconds": 600.0}))
    trained = train_auto(material, section(budget_minutes=10))
    assert rows(trained)[UPPER]["reason"] == "the budget left no time for one epoch"
    assert json.loads(spent.read_bytes())["seconds"] > 600


def test_the_running_ways_time_is_kept_while_it_runs(tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    clock = SpentTime(tmp_path, 7.0, writes=True, _started=-1e6, _written=-1e6)
    tell = clock.watching(lambda *step: told.append(step))
    tell("fine-tuning", 1, 3)
    first = (tmp_path / "spent.json").read_bytes()
    tell("fine-tuning", 2, 3)
    assert (tmp_path / "spent.json").read_bytes() == first
    assert told == [("fine-tuning", 1, 3), ("fine-tuning", 2, 3)]
    assert SpentTime.resumed(tmp_path, 3.0, writes=True).before_seconds > 1e6
    assert SpentTime.resumed(tmp_path, 1e9, writes=True).before_seconds == 1e9
    SpentTime(tmp_path / "other", 0.0, writes=False).write()
    assert not (tmp_path / "other").exists()


def test_a_resumed_search_still_says_that_a_finished_way_was_cut(
    material: Material, monkeypatch: pytest.MonkeyPatch, no_wise_ft: None
) -> None:
    monkeypatch.setattr(auto, "train_lp_ft", better_by(1.0, []))
    monkeypatch.setattr(time_plan, "epoch_seconds", lambda *_: 60.0)
    method = section(budget_minutes=5.5, fine_tune={"epochs": 12, "n_upper_blocks": None})
    first = train_auto(material, method)
    second = train_auto(material, method)
    assert rows(second)[ALL]["cut_by_budget"]
    assert first.record == second.record


def test_of_several_processes_none_goes_on_after_a_failure(material: Material, monkeypatch: pytest.MonkeyPatch) -> None:
    def failing(*_: object, **__: object) -> Trained:
        raise DataError(got="a training loss of nan.", allowed="a finite loss.", next_step="lower it.")

    monkeypatch.setattr(auto, "train_lp_ft", failing)
    real = auto._Search.climb

    def climb(search: auto._Search, *rungs: Any, **below: Any) -> None:
        # The plan is there already: nothing below asks the others.
        search.plan.epochs(rungs[0])
        monkeypatch.setattr(time_plan.TimePlan, "epochs", lambda *_: 1)
        search.store = replace(search.store, runtime=replace(search.store.runtime, n_processes=2))
        monkeypatch.setattr(type(search.store), "is_finished", lambda *_: False)
        real(search, *rungs, **below)

    monkeypatch.setattr(auto._Search, "climb", climb)
    with pytest.raises(DataError, match="a training loss of nan"):
        train_auto(material, section())
