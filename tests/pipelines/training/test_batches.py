from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config.methods import AugmentSection
from pipelines.training.batches import Batches, StepBatch, epoch_batches, stateless_seed
from pipelines.training.objective import Objective
from pipelines.training.runtime import Runtime
from tests.pipelines.training.gradient_cases import PREPROCESS, Arrays

MIXING = AugmentSection(policy="rand_augment", mixup_alpha=0.4, cutmix_alpha=1.0)


def batches(augment: AugmentSection | None = None, runtime: Runtime | None = None, n: int = 20, **changes: object) -> Batches:
    made = Batches(
        source=Arrays(n, seed=1),
        batch_size=6,
        augment=augment or AugmentSection(policy="none"),
        flips=(),
        preprocess=PREPROCESS,
        objective=Objective(4, "one", 0.0, None),
        runtime=runtime or Runtime(torch.device("cpu")),
        seed=3,
        n_workers=1,
    )
    return dataclasses.replace(made, **changes)  # type: ignore[arg-type]


def equal(first: StepBatch, second: StepBatch) -> bool:
    return (
        np.array_equal(first.chosen, second.chosen)
        and torch.equal(first.inputs, second.inputs)
        and torch.equal(first.targets, second.targets)
    )


@given(seed=st.integers(0, 99), epoch=st.integers(0, 99), n=st.integers(1, 70), size=st.integers(2, 20))
def test_every_sample_once_in_batches_of_the_size(seed: int, epoch: int, n: int, size: int) -> None:
    made = epoch_batches(seed, epoch, n, size)
    assert sorted(np.concatenate(made)) == list(range(n))
    assert all(len(batch) == size for batch in made[:-1])
    assert 1 <= len(made[-1]) <= size + 1
    assert n == 1 or len(made[-1]) > 1, "a batch of one has no statistics"
    assert all(np.array_equal(a, b) for a, b in zip(made, epoch_batches(seed, epoch, n, size), strict=True))


def test_the_order_is_of_the_epoch_and_the_seed() -> None:
    first = np.concatenate(epoch_batches(0, 1, 50, 8))
    assert not np.array_equal(first, np.concatenate(epoch_batches(0, 2, 50, 8)))
    assert not np.array_equal(first, np.concatenate(epoch_batches(1, 1, 50, 8)))


def test_seeds_depend_on_every_key_and_on_nothing_else() -> None:
    assert stateless_seed("a", 1, "x") == 2_378_950_088_497_202_548
    assert len({stateless_seed("a", 1, "x"), stateless_seed("b", 1, "x"), stateless_seed("a", 2, "x"), stateless_seed("a", 1, "y")}) == 4
    assert all(0 <= stateless_seed(number) < 2**63 for number in range(100))


@pytest.mark.parametrize("first_step", [0, 1, 3])
def test_an_epoch_can_be_entered_at_any_step(first_step: int) -> None:
    whole, part = list(batches(MIXING).of_epoch(2, 0)), list(batches(MIXING).of_epoch(2, first_step))
    assert len(part) == len(whole) - first_step
    assert all(equal(a, b) for a, b in zip(whole[first_step:], part, strict=True))


def test_steps_before_the_first_are_not_read() -> None:
    made = batches()
    list(made.of_epoch(1, 2))
    assert isinstance(made.source, Arrays)
    assert len(made.source.asked) == 20 - 2 * 6


def test_an_images_change_depends_on_its_epoch_and_not_on_its_batch() -> None:
    def by_sample(made: Batches, epoch: int) -> dict[int, torch.Tensor]:
        return {int(i): image for batch in made.of_epoch(epoch, 0) for i, image in zip(batch.chosen, batch.inputs, strict=True)}

    augment = AugmentSection(policy="rand_augment", magnitude=1.0)
    first, other_size, later = by_sample(batches(augment), 1), by_sample(batches(augment, batch_size=9), 1), by_sample(batches(augment), 2)
    assert all(torch.equal(first[index], other_size[index]) for index in first)
    assert sum(not torch.equal(first[index], later[index]) for index in first) > 15


@pytest.mark.parametrize("augment", [AugmentSection(policy="none"), MIXING])
@pytest.mark.parametrize("n", [20, 8, 9])
def test_processes_share_a_batch_exactly(augment: AugmentSection, n: int) -> None:
    whole = list(batches(augment, n=n).of_epoch(1, 0))
    parts = [list(batches(augment, Runtime(torch.device("cpu"), index=i, n_processes=4), n=n).of_epoch(1, 0)) for i in range(4)]
    for step, expected in enumerate(whole):
        own = [part[step] for part in parts]
        assert torch.equal(torch.cat([one.targets for one in own]), expected.targets)
        assert torch.equal(torch.cat([one.inputs[: len(one.targets)] for one in own]), expected.inputs)
        assert all(len(one.inputs) >= 1 for one in own), "a process without a part still takes part"


def test_mixing_makes_soft_targets() -> None:
    (first, *_) = batches(MIXING).of_epoch(1, 0)
    assert first.targets.shape == (6, 4)
    torch.testing.assert_close(first.targets.sum(1), torch.ones(6))


def test_activations_are_neither_augmented_nor_mixed() -> None:
    made = batches(MIXING, preprocess=None)
    (first, *_) = made.of_epoch(1, 0)
    assert first.targets.dtype == torch.int64
    np.testing.assert_array_equal(first.inputs.numpy(), made.source.batch(first.chosen))


def test_the_number_of_steps() -> None:
    assert batches(n=20).n_steps == 4
    assert batches(n=19).n_steps == 3
