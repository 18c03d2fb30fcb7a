from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from pipelines.core.errors import DataError
from pipelines.training.after import interpolate
from pipelines.training.checkpoint import CheckpointFolder
from pipelines.training.curve import best_epoch
from pipelines.training.finishing import finish
from pipelines.training.loop import fit, moving_names, validation_loss
from pipelines.training.material import Deadline
from pipelines.training.runtime import Runtime
from pipelines.training.training_plan import Fit, TrainingPlan, training_identity
from tests.conftest import ROOT
from tests.pipelines.training.gradient_cases import (
    EVERYTHING,
    Arrays,
    Limit,
    StoppedError,
    config,
    copied,
    network,
    plan,
    recipe,
    same,
    stopping_at,
)

N_STEPS = 4  # of an epoch: 20 samples, 6 at a time


def trained(made: TrainingPlan) -> tuple[Fit, dict[str, Any], dict[str, torch.Tensor]]:
    fitted = fit(made)
    record = finish(made, fitted)
    return fitted, record, copied(made.network.state_dict())


def test_it_learns_and_what_is_left_is_the_best_epoch(tmp_path: Path) -> None:
    made = plan(tmp_path, recipe(epochs=8))
    fitted = fit(made)
    assert [epoch.number for epoch in fitted.curve] == list(range(9))
    assert fitted.curve[0].train_loss is None
    best = fitted.curve[best_epoch(fitted.curve)]
    assert best.validation_log_loss < fitted.curve[0].validation_log_loss - 0.1
    assert validation_loss(made) == (best.validation_log_loss, best.validation_accuracy)
    assert not made.network.training


def test_bit_for_bit_the_same_and_other_with_another_seed(tmp_path: Path) -> None:
    def run(name: str, seed: int) -> dict[str, torch.Tensor]:
        torch.manual_seed(len(name))  # what was drawn before makes no difference
        return trained(plan(tmp_path / name, recipe(**EVERYTHING), config=config(seed=seed)))[2]

    first = run("one", 0)
    assert same(first, run("three", 0))
    assert not same(first, run("other", 1))


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Fit, dict[str, Any], dict[str, torch.Tensor]]:
    """Everything on that could keep a state of its own: averages, momenta, dropout, live batch norm, mixing, a soup."""
    return trained(plan(tmp_path_factory.mktemp("whole"), recipe(**EVERYTHING)))


@pytest.mark.parametrize("stop", range(1, 3 * N_STEPS + 1))
def test_gone_on_with_at_every_step_it_ends_the_same(tmp_path: Path, stop: int, whole: Any) -> None:
    with pytest.raises(StoppedError):
        fit(plan(tmp_path, recipe(**EVERYTHING), progress=stopping_at(stop)))
    seen: list[int] = []
    fitted, record, weights = trained(plan(tmp_path, recipe(**EVERYTHING), progress=lambda _, done, __: seen.append(done)))
    assert min(seen) >= stop, "it began anew"
    assert fitted.curve == whole[0].curve
    assert record == whole[1]
    assert same(weights, whole[2])


def test_stopped_again_and_again(tmp_path: Path, whole: Any) -> None:
    for stop in range(1, 3 * N_STEPS):
        with pytest.raises(StoppedError):
            fit(plan(tmp_path, recipe(**EVERYTHING), progress=stopping_at(stop)))
    assert same(trained(plan(tmp_path, recipe(**EVERYTHING)))[2], whole[2])


def test_another_start_is_another_training(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        fit(plan(tmp_path / "a", progress=stopping_at(5)))
    other = fit(plan(tmp_path / "a", model=network(1)))
    assert other.curve == fit(plan(tmp_path / "b", model=network(1))).curve


@pytest.mark.parametrize(
    "change",
    [
        {"method": recipe(learning_rate=0.03)},
        {"config": config(seed=9)},
        {"train": Arrays(20, seed=7)},
        {"validation": Arrays(16, seed=7)},
        {"flips": ("vertical",)},
        {"name": "lp_ft"},
        {"model": network(1)},
        {"runtime": Runtime(torch.device("cpu"), n_processes=2)},
    ],
)
def test_whatever_changes_the_training_changes_its_identity(tmp_path: Path, change: dict[str, Any]) -> None:
    assert training_identity(plan(tmp_path, **change)) != training_identity(plan(tmp_path))


def test_a_budget_does_not(tmp_path: Path) -> None:
    other = plan(tmp_path / "elsewhere", recipe(budget_minutes=3), deadline=Deadline(9.0))
    assert training_identity(other) == training_identity(plan(tmp_path))


def damaged(folder: Path, pattern: str) -> None:
    (path,) = folder.rglob(pattern)
    path.write_bytes(path.read_bytes()[:-8] + b"\0" * 8)


@pytest.mark.parametrize("pattern", ["step-*", "epoch-000000001-*"])
def test_a_damaged_file_means_beginning_anew_aloud(tmp_path: Path, pattern: str, caplog: pytest.LogCaptureFixture, whole: Any) -> None:
    method = recipe(**EVERYTHING)
    with pytest.raises(StoppedError):
        fit(plan(tmp_path / "damaged", method, progress=stopping_at(6)))
    damaged(tmp_path / "damaged", pattern)
    seen: list[int] = []
    result = trained(plan(tmp_path / "damaged", method, progress=lambda _, done, __: seen.append(done)))[2]
    assert seen[0] == 1
    assert "is not used: its content is not what was written" in caplog.text
    assert same(result, whole[2])


def test_without_a_folder_of_its_own_two_trainings_do_not_meet(tmp_path: Path) -> None:
    with pytest.raises(StoppedError):
        fit(plan(tmp_path, progress=stopping_at(5)))
    seen: list[int] = []
    fit(plan(tmp_path, recipe(epochs=2), progress=lambda _, done, __: seen.append(done)))
    assert seen[0] == 1


def test_checkpoints_are_rare_unless_asked_for(tmp_path: Path) -> None:
    """30 s are not over: the start's is the only one within an epoch."""
    with pytest.raises(StoppedError):
        fit(plan(tmp_path, progress=stopping_at(3), seconds_between_checkpoints=30.0))
    (path,) = tmp_path.rglob("step-*")
    assert path.name.startswith("step-000000000-")


def test_a_full_disk_does_not_end_the_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    expected = fit(plan(tmp_path / "a")).curve
    monkeypatch.setattr("pipelines.training.checkpoint.CheckpointFolder.save", full)
    assert fit(plan(tmp_path / "b")).curve == expected
    assert "no checkpoint could be written" in caplog.text
    assert "No space left on device" in caplog.text


@pytest.mark.parametrize("n_written", [0, 2])
def test_a_disk_too_full_for_the_weights_of_an_epoch_costs_the_soup_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, n_written: int
) -> None:
    real = CheckpointFolder.save_epoch

    def full(folder: CheckpointFolder, number: int, tensors: Any) -> str:
        if number == n_written:
            raise OSError(28, "No space left on device")
        return real(folder, number, tensors)

    expected = fit(plan(tmp_path / "a")).curve
    monkeypatch.setattr(CheckpointFolder, "save_epoch", full)
    fitted, record, _ = trained(plan(tmp_path / "b", recipe(after=["greedy_soup", "wise_ft"])))
    assert fitted.curve == expected
    assert len(fitted.epoch_states) == n_written
    assert record["greedy_soup"] == {"skipped": "the weights of an epoch could not be written"}
    assert "alpha" in record["wise_ft"]
    assert caplog.text.count("greedy_soup is left out") == 1


def test_processes_agree_on_the_smallest_micro_batch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other process has memory for two samples."""
    monkeypatch.setattr(Runtime, "smallest", lambda _, value: min(value, 2))
    fitted = fit(plan(tmp_path))
    assert fitted.micro_batch == 2


def test_early_stopping(tmp_path: Path) -> None:
    ruinous = recipe(epochs=9, learning_rate=5.0, early_stopping_epochs=2, warmup_frac=0.0)
    fitted = fit(plan(tmp_path, ruinous))
    assert len(fitted.curve) == best_epoch(fitted.curve) + 3


def test_a_ruinous_rate_leaves_the_start(tmp_path: Path) -> None:
    made = plan(tmp_path, recipe(epochs=2, learning_rate=30.0, warmup_frac=0.0, weight_decay=0.0, freeze_batch_norm=True))
    before = copied(made.network.state_dict())
    fitted = fit(made)
    assert best_epoch(fitted.curve) == 0
    assert same(made.network.state_dict(), before)


@pytest.mark.parametrize("steps", [0, 2, N_STEPS + 1])
def test_a_deadline_is_looked_at_before_every_step(tmp_path: Path, steps: int) -> None:
    made = plan(tmp_path, recipe(**EVERYTHING), deadline=Limit(steps))
    start = copied(made.network.state_dict())
    fitted, record, weights = trained(made)
    assert fitted.cut_at == (steps // N_STEPS + 1, steps % N_STEPS)
    assert len(fitted.curve) == steps // N_STEPS + 1
    assert record["wise_ft"] == {"skipped": "the budget left no time for it"}
    if steps < N_STEPS:
        assert same(weights, start)


def test_a_cut_training_goes_on_when_there_is_time_again(tmp_path: Path) -> None:
    fit(plan(tmp_path / "cut", deadline=Limit(5)))
    assert fit(plan(tmp_path / "cut")).curve == fit(plan(tmp_path / "whole")).curve


def test_a_budget_of_its_own_counts_the_time_before_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given: list[float | None] = []
    monkeypatch.setattr("pipelines.training.loop.Deadline", lambda seconds: (given.append(seconds), Deadline(seconds))[1])
    with pytest.raises(StoppedError):
        fit(plan(tmp_path, recipe(budget_minutes=1.0), progress=stopping_at(4)))
    fit(plan(tmp_path, recipe(budget_minutes=1.0)))
    first, second = (seconds for seconds in given if seconds is not None)
    assert first == 60.0
    assert second is not None
    assert second < 60.0


def test_a_budget_that_is_used_up_cuts(tmp_path: Path) -> None:
    assert fit(plan(tmp_path, recipe(budget_minutes=1e-9))).cut_at == (1, 0)


def test_no_budget_no_cut(tmp_path: Path) -> None:
    assert fit(plan(tmp_path)).cut_at is None


@pytest.mark.parametrize("bad", ["images", "rate"])
def test_a_loss_that_is_not_finite_stops_and_leaves_the_last_good_checkpoint(tmp_path: Path, bad: str) -> None:
    broken = Arrays(20, seed=1)
    made = plan(tmp_path, recipe(learning_rate=1e30 if bad == "rate" else 0.02, warmup_frac=0.0), train=broken)
    if bad == "images":
        broken.images[7] = np.nan
    with pytest.raises(DataError, match=r"(training loss|gradient norm) of (nan|inf) in the batch with \d{4}\.png"):
        fit(made)
    (path,) = tmp_path.rglob("step-*")
    from safetensors.torch import load_file

    assert all(bool(tensor.isfinite().all()) for tensor in load_file(path).values())


@pytest.mark.usefixtures("pleased")
def test_what_is_frozen_does_not_change(tmp_path: Path) -> None:
    made = plan(tmp_path, recipe(epochs=2))
    made = dataclasses.replace(made, groups=made.groups[:1], n_open=lambda _: 1)
    before = copied(made.network.state_dict())
    fit(made)
    after = made.network.state_dict()
    changed = {name for name in after if not torch.equal(after[name], before[name])}
    assert not {name for name in changed if name.startswith("0.lower")}, "weights and statistics of a frozen block"
    assert {name for name in before if name.startswith(("0.upper", "1."))} <= changed | {"0.upper.0.bias"}


@pytest.mark.usefixtures("pleased")
def test_frozen_batch_norm_statistics_stay_and_its_weights_move(tmp_path: Path) -> None:
    made = plan(tmp_path, recipe(freeze_batch_norm=True, epochs=2))
    before = copied(made.network.state_dict())
    fit(made)
    after = made.network.state_dict()
    assert all(torch.equal(after[name], before[name]) for name in before if "running" in name or "num_batches" in name)
    assert not torch.equal(after["0.lower.1.weight"], before["0.lower.1.weight"])


@pytest.mark.usefixtures("pleased")
def test_layer_decay_slows_lower_blocks(tmp_path: Path) -> None:
    """Adam's first step is the rate itself, whatever the gradient."""

    def moved(decay: float) -> dict[str, float]:
        made = plan(tmp_path / str(decay), recipe(epochs=1, batch_size=20, layer_decay=decay, weight_decay=0.0, warmup_frac=0.0))
        before = copied(made.network.state_dict())
        fit(made)
        after = made.network.state_dict()
        return {name: float((after[name] - before[name]).abs().max()) for name in ("1.weight", "0.upper.0.weight", "0.lower.0.weight")}

    even, steep = moved(1.0), moved(0.1)
    assert even["0.lower.0.weight"] == pytest.approx(0.02, rel=1e-2)
    assert steep["1.weight"] == pytest.approx(0.02, rel=1e-2)
    assert steep["0.upper.0.weight"] == pytest.approx(0.002, rel=1e-2)
    assert steep["0.lower.0.weight"] == pytest.approx(0.0002, rel=1e-2)


@pytest.mark.usefixtures("pleased")
def test_the_average_is_judged_and_kept(tmp_path: Path) -> None:
    """Against a slow one: a copy of the weights after every step, averaged with timm's warm-up."""
    decay, states = 0.8, []
    method = recipe(ema_decay=decay, epochs=2)
    made = plan(tmp_path / "a", method, progress=lambda *_: states.append(copied(made.network.state_dict())))
    states.append(copied(made.network.state_dict()))
    fit(made)
    average = {name: tensor.double() for name, tensor in states[0].items()}
    for number, state in enumerate(states[1 : 1 + 2 * N_STEPS], start=1):
        kept = min(decay, 1 - number ** (-2 / 3))
        for name, tensor in state.items():
            is_buffer = "running" in name or "num_batches" in name
            average[name] = tensor.double() if is_buffer else kept * average[name] + (1 - kept) * tensor.double()
    for name, tensor in made.network.state_dict().items():
        torch.testing.assert_close(tensor.double(), average[name], rtol=1e-5, atol=1e-6)


def test_steps_after_training_are_recorded_and_never_worse(tmp_path: Path) -> None:
    made = plan(tmp_path, recipe(epochs=6, after=["greedy_soup", "wise_ft"]))
    fitted, record, _ = trained(made)
    best = min(epoch.validation_log_loss for epoch in fitted.curve)
    assert list(record) == ["greedy_soup", "wise_ft"]
    assert record["greedy_soup"]["n_tried"] == 7
    assert record["wise_ft"]["log_loss"] <= record["greedy_soup"]["log_loss"] <= best
    assert validation_loss(made)[0] == pytest.approx(record["wise_ft"]["log_loss"], rel=1e-6)
    json.dumps(record, allow_nan=False)


def test_a_soup_after_wise_ft_has_its_point_among_the_ingredients(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipelines.training.finishing.wise_ft", lambda start, end, evaluate: (interpolate(start, end, 0.5), {}))
    _, record, _ = trained(plan(tmp_path, recipe(epochs=4, after=["wise_ft", "greedy_soup"])))
    assert record["greedy_soup"]["n_tried"] == 6


def test_weights_of_epochs_are_on_disk_for_a_soup_only(tmp_path: Path) -> None:
    fit(plan(tmp_path / "plain"))
    fitted = fit(plan(tmp_path / "soup", recipe(after=["greedy_soup"])))
    assert not list((tmp_path / "plain").rglob("epoch-*"))
    assert len(list((tmp_path / "soup").rglob("epoch-*"))) == len(fitted.epoch_states) == 4
    assert same(fitted.epoch_states[0], fitted.start)
    assert same(fitted.epoch_states[best_epoch(fitted.curve)], fitted.best)


def test_groups_open_one_after_the_other(tmp_path: Path) -> None:
    made = plan(tmp_path, recipe(epochs=3, freeze_batch_norm=True, weight_decay=0.5), n_open=lambda epoch: epoch - 1)
    states = [copied(made.network.state_dict())]

    def remember(_: str, done: int, __: int) -> None:
        if done % N_STEPS == 0:
            states.append(copied(made.network.state_dict()))

    fit(dataclasses.replace(made, progress=remember))
    parts = {"head": "1.weight", "upper": "0.upper.0.weight", "lower": "0.lower.0.weight"}
    changed = [
        {part for part, name in parts.items() if not torch.equal(before[name], after[name])} for before, after in pairwise(states[:4])
    ]
    assert changed == [{"head"}, {"head", "upper"}, {"head", "upper", "lower"}]


@pytest.mark.parametrize("stop", [1, N_STEPS, N_STEPS + 1, 2 * N_STEPS, 3 * N_STEPS])
def test_gradual_unfreezing_goes_on_the_same(tmp_path: Path, stop: int) -> None:
    def made(name: str, **changes: Any) -> TrainingPlan:
        return plan(tmp_path / name, recipe(ema_decay=0.9), n_open=lambda epoch: epoch - 1, **changes)

    with pytest.raises(StoppedError):
        fit(made("stopped", progress=stopping_at(stop)))
    again, whole = made("stopped"), made("whole")
    assert fit(again).curve == fit(whole).curve
    assert same(again.network.state_dict(), whole.network.state_dict())


def test_patience_is_counted_from_where_all_is_open(tmp_path: Path) -> None:
    made = plan(tmp_path, recipe(epochs=8), n_open=lambda epoch: 0 if epoch < 5 else 2)
    assert made.all_open_after == 4
    assert plan(tmp_path).all_open_after == 0


@pytest.mark.parametrize("n", [1, 2, 7, 13])
def test_any_number_of_samples_trains_with_live_batch_norm(tmp_path: Path, n: int) -> None:
    """13 leave one over, which joins the last batch; a single training sample goes through running statistics."""
    fitted = fit(plan(tmp_path, train=Arrays(n, seed=1)))
    assert all(np.isfinite(epoch.train_loss or 0.0) for epoch in fitted.curve)


def test_the_micro_batch_changes_rounding_alone(tmp_path: Path) -> None:
    method = recipe(epochs=2, freeze_batch_norm=True)
    whole = fit(plan(tmp_path / "a", method))
    parts = fit(plan(tmp_path / "b", method, config=config(compute={"precision": "fp32", "micro_batch_size": 2})))
    assert (whole.micro_batch, parts.micro_batch) == (6, 2)
    for one, other in zip(whole.curve, parts.curve, strict=True):
        assert one.validation_log_loss == pytest.approx(other.validation_log_loss, rel=1e-3)


def test_deterministic_algorithms_are_on_meanwhile(tmp_path: Path) -> None:
    seen = []
    fit(plan(tmp_path, progress=lambda *_: seen.append(torch.are_deterministic_algorithms_enabled())))
    assert seen
    assert all(seen)
    assert not torch.are_deterministic_algorithms_enabled()


def test_progress_ends_at_its_total(tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    fit(plan(tmp_path, recipe(epochs=9, early_stopping_epochs=1, learning_rate=5.0), progress=lambda _, d, t: told.append((d, t))))
    assert told[-1][0] == told[-1][1] == 9 * N_STEPS
    assert [done for done, _ in told] == sorted(done for done, _ in told)


class Second(Runtime):
    """The second of two processes, the first of which does what it does."""

    def sum(self, value: float) -> float:
        return 2 * value


def test_only_the_main_process_writes_and_tells(tmp_path: Path) -> None:
    told: list[Any] = []
    fit(plan(tmp_path, runtime=Second(torch.device("cpu"), index=1, n_processes=2), progress=lambda *args: told.append(args)))
    assert not told
    assert not list(tmp_path.iterdir())


def test_names_that_training_changes() -> None:
    model = network()
    model[0].lower.requires_grad_(requires_grad=False)
    names = moving_names(model)
    assert "0.lower.0.weight" not in names
    assert {"0.upper.0.weight", "1.bias", "0.lower.1.running_mean"} <= names


@pytest.mark.slow
@pytest.mark.usefixtures("pleased")
def test_every_key_of_the_recipe_acts(tmp_path: Path) -> None:
    """Each changes the weights after two epochs, or what is kept."""
    changes: dict[str, object] = {
        "batch_size": 7,
        "epochs": 1,
        "learning_rate": 0.01,
        "layer_decay": 0.5,
        "weight_decay": 0.5,
        "warmup_frac": 0.9,
        "label_smoothing": 0.3,
        "dropout": 0.4,
        "freeze_batch_norm": True,
        "l2_sp": 1.0,
        "ema_decay": 0.5,
        "max_gradient_norm": 0.01,
        "after": ["wise_ft"],
        "augment": {"policy": "rand_augment"},
    }
    uneven = Arrays(20, seed=1)
    uneven.targets = np.minimum(uneven.targets, 2)

    def weights(name: str, **change: object) -> dict[str, torch.Tensor]:
        made = plan(tmp_path / name, recipe(**{"epochs": 2} | change), train=uneven)
        return trained(made)[2]

    usual = weights("usual")
    changes["class_weights"] = "balanced"
    unchanged = [key for key, value in changes.items() if key != "after" and same(usual, weights(key, **{key: value}))]
    assert unchanged == []


# One process imports torch and forks each training: nothing of torch runs in it that a fork could break.
_KILLED = """
import os, signal, sys
from pathlib import Path
import safetensors.torch
import torch
from pipelines.training.finishing import finish
from pipelines.training.loop import fit
from tests.pipelines.training.gradient_cases import EVERYTHING, plan, recipe

torch.set_num_threads(1)

def training(folder, stop):
    def progress(activity, done, total):
        with (folder / "steps").open("a") as file:
            print(done, file=file)
        if done == stop:
            os.kill(os.getpid(), signal.SIGKILL)

    made = plan(folder, recipe(**EVERYTHING), progress=progress)
    finish(made, fit(made))
    tensors = {name: tensor.contiguous() for name, tensor in made.network.state_dict().items()}
    safetensors.torch.save_file(tensors, folder / "result.safetensors")

for line in sys.argv[2:]:
    folder, stop = line.split(":")
    child = os.fork()
    if child == 0:
        (Path(sys.argv[1]) / folder).mkdir(exist_ok=True)
        training(Path(sys.argv[1]) / folder, int(stop))
        os._exit(0)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
"""


@pytest.mark.slow
def test_killed_for_real_it_ends_the_same(tmp_path: Path) -> None:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    runs = ["whole:-1", *(f"killed:{stop}" for stop in (1, 4, 6, 11, 12)), "killed:-1"]
    arguments = [sys.executable, "-c", _KILLED, str(tmp_path), *runs]
    ended = subprocess.run(arguments, env=environment, cwd=ROOT, check=True, capture_output=True, text=True)
    assert [int(line) for line in ended.stdout.split()] == [0, *[-signal.SIGKILL] * 5, 0]
    assert (tmp_path / "killed" / "result.safetensors").read_bytes() == (tmp_path / "whole" / "result.safetensors").read_bytes()
    # Gone on with, not begun anew: a step is told once, but for the one after which a process was killed.
    steps = [int(line) for line in (tmp_path / "killed" / "steps").read_text().split()]
    assert [step for place, step in enumerate(steps) if place == 0 or steps[place - 1] != step] == list(range(1, N_STEPS * 3 + 1))
