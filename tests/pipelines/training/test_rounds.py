from __future__ import annotations

import numpy as np
import pytest

from pipelines.training.rounds import Rounds, n_rounds_per_epoch
from tests.pipelines.training.gradient_cases import Arrays


def test_the_rounds_of_a_pass_have_every_sample_once_and_passes_differ() -> None:
    rounds = Rounds(Arrays(83, seed=0), n_rounds=4, seed=0)
    passes = []
    for epoch in range(2):
        places: list[int] = []
        for part in range(4):
            rounds.renew(1 + 4 * epoch + part)
            assert len(rounds) == len(rounds.samples) == len(rounds.targets) == 20
            places += rounds.targets.tolist()
        assert len(set(places)) == 80
        passes.append(places)
    assert passes[0] != passes[1]
    rounds.renew(2)
    assert rounds.targets.tolist() == passes[0][20:40]
    assert np.array_equal(rounds.batch([0, 3]), Arrays(83, seed=0).images[[passes[0][20], passes[0][23]]])
    assert [sample.id for sample in rounds.samples] == [f"0-{place}" for place in passes[0][20:40]]


@pytest.mark.parametrize(("n_samples", "n_rounds"), [(10, 1), (64, 2), (256, 8), (100_000, 8)])
def test_a_pass_is_cut_so_that_a_deadline_costs_little(n_samples: int, n_rounds: int) -> None:
    assert n_rounds_per_epoch(n_samples, 32) == n_rounds
