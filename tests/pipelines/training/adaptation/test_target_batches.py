from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
import torch

from pipelines.config import AugmentSection
from pipelines.training.adaptation.target_batches import TargetBatches
from tests.pipelines.training.gradient_cases import PREPROCESS, Arrays

BATCHES = TargetBatches(Arrays(20, seed=1), 6, AugmentSection(policy="none"), (), PREPROCESS, seed=0)
CPU = torch.device("cpu")


def test_every_pass_sees_every_sample_once_in_an_order_of_its_own() -> None:
    passes = [np.concatenate([BATCHES.places(4 * number + step) for step in range(4)]) for number in range(3)]
    for places in passes:
        assert sorted(places.tolist()) == list(range(20))
    assert len({tuple(places) for places in passes}) == 3


def test_a_batch_depends_on_its_place_alone() -> None:
    changed = dataclasses.replace(BATCHES, augment=AugmentSection())
    torch.testing.assert_close(changed.batch(7, 0, 1, CPU), changed.batch(7, 0, 1, CPU), rtol=0, atol=0)
    assert not torch.equal(changed.batch(7, 0, 1, CPU), BATCHES.batch(7, 0, 1, CPU))
    other: Any = dataclasses.replace(BATCHES, seed=1)
    assert other.places(7).tolist() != BATCHES.places(7).tolist()


def test_the_parts_of_a_step_are_its_batch() -> None:
    whole = BATCHES.batch(2, 0, 1, CPU)
    parts = [BATCHES.batch(2, number, 4, CPU) for number in range(4)]
    torch.testing.assert_close(torch.cat(parts), whole, rtol=0, atol=0)


def test_more_parts_than_samples_give_each_part_one() -> None:
    few = dataclasses.replace(BATCHES, source=Arrays(2, seed=1))
    assert [len(few.batch(0, number, 5, CPU)) for number in range(5)] == [1] * 5
