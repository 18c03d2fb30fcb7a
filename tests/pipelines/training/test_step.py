from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

from pipelines.core.errors import ConfigurationError, DataError
from pipelines.training.batches import StepBatch
from pipelines.training.memory import micro_batch_size
from pipelines.training.objective import Objective
from pipelines.training.optimization import build_optimizer
from pipelines.training.regularisation import training_view
from pipelines.training.runtime import Runtime
from pipelines.training.step import Learner, memory_trial, parts_of_step, set_modes, take_step
from tests.pipelines.training.gradient_cases import Arrays, copied, network, recipe, same

SOURCE = Arrays(20, seed=1)


def learner(model: nn.Sequential | None = None, runtime: Runtime | None = None, dropout: float = 0.0, **changes: object) -> Learner:
    model = model or network()
    method = recipe(**{"freeze_batch_norm": True} | changes)
    groups = [list(model[0].upper.parameters()), list(model[0].lower.parameters())]
    optimizer, scheduler = build_optimizer(model, groups, method, 10)
    return Learner(
        network=model,
        view=training_view(model, dropout),
        objective=Objective(4, "one", 0.0, None),
        optimizer=optimizer,
        scheduler=scheduler,
        recipe=method,
        runtime=runtime or Runtime(torch.device("cpu")),
        seed=0,
        start=copied(model.state_dict()),
    )


def batch(n: int = 12, runtime: Runtime | None = None) -> StepBatch:
    chosen = np.arange(n)
    own = (runtime or Runtime(torch.device("cpu"))).shard(chosen)
    needed = own if len(own) else chosen[:1]
    return StepBatch(chosen, torch.from_numpy(SOURCE.batch(needed)), torch.from_numpy(SOURCE.targets[own]))


def steps(made: Learner, micro_batch: int, n_steps: int = 3, n: int = 12) -> dict[str, torch.Tensor]:
    for step in range(n_steps):
        take_step(made, made.view, batch(n), SOURCE, (1, step), micro_batch)
    return copied(made.network.state_dict())


@pytest.mark.parametrize("micro_batch", [1, 5, 6, 11])
@pytest.mark.parametrize("l2_sp", [0.0, 0.5])
def test_parts_of_a_batch_give_what_the_whole_gives(micro_batch: int, l2_sp: float) -> None:
    """The network is in float64, so that nothing but a wrong weight of a part could differ."""
    double = [learner(network().double(), l2_sp=l2_sp, max_gradient_norm=0.1) for _ in range(2)]
    whole, parts = (
        [take_step(made, made.view, StepBatch(one.chosen, one.inputs.double(), one.targets), SOURCE, (1, step), size) for step in range(3)]
        for made, size in zip(double, (12, micro_batch), strict=True)
        if (one := batch())
    )
    assert [one.loss_sum for one in parts] == pytest.approx([one.loss_sum for one in whole], rel=1e-6)
    for name, tensor in double[0].network.state_dict().items():
        torch.testing.assert_close(double[1].network.state_dict()[name], tensor, rtol=1e-9, atol=1e-12)


def test_one_step_is_adamw_on_the_mean_loss() -> None:
    made, reference = learner(max_gradient_norm=1e9), network()
    groups = [list(reference[0].upper.parameters()), list(reference[0].lower.parameters())]
    optimizer, _ = build_optimizer(reference, groups, made.recipe, 10)
    reference.eval()
    loss = nn.functional.cross_entropy(reference(batch().inputs), batch().targets)
    loss.backward()
    optimizer.step()
    outcome = take_step(made, made.view, batch(), SOURCE, (1, 0), 12)
    assert outcome.loss_sum == pytest.approx(12 * float(loss.detach()), rel=1e-6)
    for name, tensor in reference.state_dict().items():
        torch.testing.assert_close(made.network.state_dict()[name], tensor)


def test_a_gradient_is_clipped_to_its_norm() -> None:
    """With SGD at rate 1 the step is the gradient: its length is the limit."""
    model = network()
    sgd = torch.optim.SGD(model.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.LambdaLR(sgd, lambda _: 1.0)
    made = dataclasses.replace(learner(model, max_gradient_norm=0.01), optimizer=sgd, scheduler=schedule)
    before = torch.cat([p.detach().flatten().clone() for p in model.parameters()])
    take_step(made, made.view, batch(), SOURCE, (1, 0), 12)
    after = torch.cat([p.detach().flatten() for p in model.parameters()])
    assert float((after - before).norm()) == pytest.approx(0.01, rel=1e-3)


def test_what_layers_draw_depends_on_the_place_alone() -> None:
    results = []
    for noise, place in ((0, (1, 0)), (5, (1, 0)), (0, (1, 1)), (0, (2, 0))):
        torch.manual_seed(noise)
        made = learner(dropout=0.5)
        before = torch.random.get_rng_state()
        results.append(take_step(made, made.view, batch(), SOURCE, place, 12).loss_sum)
        assert torch.equal(torch.random.get_rng_state(), before)
    assert results[0] == results[1]
    assert len(set(results)) == 3


@pytest.mark.parametrize("planted", ["nan", "inf"])
def test_a_loss_that_is_not_finite_names_the_batch_and_leaves_the_weights(planted: str) -> None:
    made = learner()
    before = copied(made.network.state_dict())
    bad = batch()
    bad.inputs[3] = float(planted)
    with pytest.raises(DataError, match=r"training loss of nan in the batch with 0000\.png, .*0004\.png and 7 more.*learning_rate"):
        take_step(made, made.view, bad, SOURCE, (1, 0), 12)
    assert same(made.network.state_dict(), before)


def test_a_gradient_that_is_not_finite_names_the_batch_too() -> None:
    class Rooted(nn.Module):
        """Finite at 0, its slope is not."""

        def forward(self, features: torch.Tensor) -> torch.Tensor:
            return (features * 0).abs().sqrt()

    model = network()
    model[0].upper.append(Rooted())
    made = learner(model)
    before = copied(model.state_dict())
    with pytest.raises(DataError, match=r"gradient norm of nan in the batch with 0000\.png"):
        take_step(made, made.view, batch(), SOURCE, (1, 0), 12)
    assert same(model.state_dict(), before)


class _Hungry(nn.Module):
    """A network that fits so many samples into memory."""

    def __init__(self, inner: nn.Sequential, fits: int) -> None:
        super().__init__()
        self.inner, self.fits, self.seen = inner, fits, []

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        self.seen.append(len(inputs))
        if len(inputs) > self.fits:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")
        result: torch.Tensor = self.inner(inputs)
        return result


def test_a_step_that_memory_refuses_is_done_in_parts(caplog: pytest.LogCaptureFixture) -> None:
    made, reference = learner(), learner()
    hungry = _Hungry(made.view, fits=4)
    outcome = take_step(made, hungry, batch(), SOURCE, (1, 0), 64)
    expected = take_step(reference, reference.view, batch(), SOURCE, (1, 0), 12)
    assert outcome.micro_batch == 3
    assert hungry.seen == [12, 6, 3, 3, 3, 3]
    assert outcome.loss_sum == pytest.approx(expected.loss_sum, rel=1e-6)
    for name, tensor in reference.network.state_dict().items():
        torch.testing.assert_close(made.network.state_dict()[name], tensor, rtol=1e-4, atol=1e-6)
    assert "going on with 3" in caplog.text


def test_one_sample_that_does_not_fit_is_said() -> None:
    made = learner()
    with pytest.raises(ConfigurationError, match=r"one sample that does not fit into memory"):
        take_step(made, _Hungry(made.view, fits=0), batch(), SOURCE, (1, 0), 12)


def test_other_errors_of_torch_are_not_taken_for_want_of_memory() -> None:
    made = learner()
    wrong = StepBatch(np.arange(2), torch.zeros(2, 3, 8, 8), torch.zeros(2, dtype=torch.int64))
    with pytest.raises(RuntimeError, match="channels"):
        take_step(made, made.view, wrong, SOURCE, (1, 0), 12)


def test_a_trial_changes_nothing() -> None:
    made = learner(dropout=0.5, freeze_batch_norm=False)
    before, generator = copied(made.network.state_dict()), torch.random.get_rng_state()
    assert micro_batch_size(lambda n: memory_trial(made, SOURCE, n), 32, None) == 32
    assert same(made.network.state_dict(), before)
    assert torch.equal(torch.random.get_rng_state(), generator)
    assert all(parameter.grad is None for parameter in made.network.parameters())


def norms(model: nn.Module) -> list[bool]:
    return [module.training for module in model.modules() if isinstance(module, nn.BatchNorm2d)]


def test_modes() -> None:
    model = network()
    set_modes(model, freeze_batch_norm=False, n_samples=4)
    assert norms(model) == [True, True]
    set_modes(model, freeze_batch_norm=True, n_samples=4)
    assert norms(model) == [False, False]
    assert model[1].training
    set_modes(model, freeze_batch_norm=False, n_samples=1)
    assert norms(model) == [False, False]
    model[0].lower.requires_grad_(requires_grad=False)
    set_modes(model, freeze_batch_norm=False, n_samples=4)
    assert norms(model) == [False, True]


def test_a_norm_without_weights_goes_with_its_block() -> None:
    model = network()
    model[0].lower[1] = nn.BatchNorm2d(4, affine=False)
    model[0].upper[1] = nn.BatchNorm2d(8, affine=False)
    set_modes(model, freeze_batch_norm=False, n_samples=4)
    assert norms(model) == [True, True]
    model[0].lower.requires_grad_(requires_grad=False)
    set_modes(model, freeze_batch_norm=False, n_samples=4)
    assert norms(model) == [False, True]
    alone = nn.BatchNorm2d(4, affine=False)
    set_modes(alone, freeze_batch_norm=False, n_samples=4)
    assert alone.training


@given(n_global=st.integers(1, 70), n_processes=st.integers(1, 9), micro_batch=st.integers(1, 20))
def test_all_processes_cut_a_step_into_as_many_parts(n_global: int, n_processes: int, micro_batch: int) -> None:
    n_parts, n_smallest = parts_of_step(n_global, n_processes, micro_batch)
    shards = [Runtime(torch.device("cpu"), index=index, n_processes=n_processes).shard(np.arange(n_global)) for index in range(n_processes)]
    sizes = [[len(part) for part in torch.from_numpy(shard).tensor_split(n_parts)] for shard in shards]
    assert n_smallest == min(map(min, sizes))
    assert 0 < max(map(max, sizes)) <= micro_batch
    assert min(sizes[0]) > 0, "the main process has rows in every part"
    if n_processes == 1:
        assert n_parts == -(-n_global // micro_batch)


@pytest.mark.parametrize(
    ("n", "micro_batch", "live"), [(2, 4, False), (3, 4, False), (9, 1, False), (9, 2, False), (10, 2, False), (12, 2, True)]
)
def test_processes_pass_as_often_and_in_the_same_mode(n: int, micro_batch: int, live: bool) -> None:
    """Shared batch norm waits in every pass of every process: other numbers of them, or other modes, would wait for ever."""
    seen: list[list[bool]] = []
    for index in range(3):
        runtime = Runtime(torch.device("cpu"), index=index, n_processes=3)
        made = learner(runtime=runtime, freeze_batch_norm=False)
        modes: list[bool] = []
        made.network[0].lower[1].register_forward_pre_hook(lambda module, _, modes=modes: modes.append(module.training))
        take_step(made, made.view, batch(n, runtime), SOURCE, (1, 0), micro_batch)
        seen.append(modes)
    assert seen[0] == seen[1] == seen[2]
    assert set(seen[0]) == {live}


def test_a_layer_norm_and_dropout_are_not_touched() -> None:
    model = nn.Sequential(nn.LayerNorm(3), nn.Dropout(0.1), nn.InstanceNorm2d(2))
    set_modes(model, freeze_batch_norm=True, n_samples=1)
    assert all(module.training for module in model)


@pytest.mark.parametrize("n", [1, 2])
def test_live_batch_norm_survives_a_single_sample(n: int) -> None:
    """Its own statistics would be refused by torch: the running ones serve, and stay."""
    made = learner(freeze_batch_norm=False)
    before = copied(made.network.state_dict())
    take_step(made, made.view, batch(n), SOURCE, (1, 0), 1)
    assert same(
        {name: tensor for name, tensor in made.network.state_dict().items() if "running" in name},
        {name: tensor for name, tensor in before.items() if "running" in name},
    )
    assert not torch.equal(made.network[1].weight, before["1.weight"])


@pytest.mark.parametrize("n", [11, 2])
@pytest.mark.parametrize("l2_sp", [0.0, 0.5])
def test_gradients_of_processes_add_up_to_those_of_one(n: int, l2_sp: float) -> None:
    """Three processes played one after the other; the third has no part in a batch of two."""

    def gradients(runtime: Runtime) -> dict[str, Any]:
        from pipelines.training.step import _gradients

        made = learner(network().double(), runtime=runtime, l2_sp=l2_sp)
        part = batch(n, runtime)
        _gradients(made, made.view, StepBatch(part.chosen, part.inputs.double(), part.targets), (1, 0), 3)
        return {name: parameter.grad for name, parameter in made.network.named_parameters()}

    whole = gradients(Runtime(torch.device("cpu")))
    parts = [gradients(Runtime(torch.device("cpu"), index=index, n_processes=3)) for index in range(3)]
    for name, expected in whole.items():
        torch.testing.assert_close(torch.stack([part[name] for part in parts]).sum(0), expected, rtol=1e-10, atol=1e-13)
