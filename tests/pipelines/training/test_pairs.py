from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.dataset import Sample
from pipelines.training.pairs import PairSource, draw_partners
from tests.pipelines.training.gradient_cases import Arrays

targets_of = st.lists(st.integers(min_value=2, max_value=6), min_size=2, max_size=5).map(
    lambda counts: np.random.default_rng(len(counts)).permutation(np.repeat(np.arange(len(counts)), counts))
)


def names(n: int) -> list[str]:
    return [f"sample-{place}" for place in range(n)]


@given(targets_of, st.integers(min_value=1, max_value=9), st.integers(min_value=0, max_value=2**40))
def test_half_of_the_pairs_agree_and_nobody_is_paired_with_itself(targets: NDArray[np.int64], n_each: int, seed: int) -> None:
    partners = draw_partners(names(len(targets)), targets, n_each, seed)
    assert partners.shape == (len(targets), 2 * n_each)
    assert not (partners == np.arange(len(targets))[:, None]).any()
    agree = targets[partners] == targets[:, None]
    assert agree[:, :n_each].all()
    assert not agree[:, n_each:].any()


@given(targets_of, st.integers(min_value=1, max_value=9), st.integers(min_value=0, max_value=2**40))
def test_nobody_is_drawn_twice_before_everybody_was_once(targets: NDArray[np.int64], n_each: int, seed: int) -> None:
    for place, row in enumerate(draw_partners(names(len(targets)), targets, n_each, seed)):
        n_same = int((targets == targets[place]).sum()) - 1
        for drawn, n_candidates in ((row[:n_each], n_same), (row[n_each:], len(targets) - n_same - 1)):
            counts = Counter(drawn.tolist())
            assert max(counts.values()) <= -(-n_each // n_candidates)
            assert len(counts) == min(n_each, n_candidates)


@given(targets_of, st.integers(min_value=0, max_value=2**40))
def test_the_seed_alone_decides(targets: NDArray[np.int64], seed: int) -> None:
    first, again, other = (draw_partners(names(len(targets)), targets, 6, value) for value in (seed, seed, seed + 1))
    np.testing.assert_array_equal(first, again)
    assert not np.array_equal(first, other)


def test_every_partner_is_drawn_as_often() -> None:
    """Over 2,000 seeds, each of the 3 others of the label and of the 4 of the other one: binomial, within 5 standard deviations."""
    targets = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    drawn = np.array([draw_partners(names(8), targets, 1, seed)[0] for seed in range(2_000)])
    for column, candidates in ((0, [1, 2, 3]), (1, [4, 5, 6, 7])):
        share = 1 / len(candidates)
        bound = 5 * np.sqrt(2_000 * share * (1 - share))
        for candidate in candidates:
            assert abs(int((drawn[:, column] == candidate).sum()) - 2_000 * share) < bound


def test_a_source_of_pairs_gives_the_first_ones_and_names_the_second(tmp_path: Path) -> None:
    arrays = Arrays(12, seed=0)
    pairs = PairSource(arrays, n_each=3, seed=5)
    assert len(pairs) == len(pairs.samples) == len(pairs.targets) == 72
    chosen = np.array([0, 5, 6, 71])
    np.testing.assert_array_equal(pairs.batch(chosen), arrays.images[[0, 0, 1, 11]])
    assert [sample.id for sample in (pairs.samples[place] for place in chosen)] == [arrays.samples[place].id for place in (0, 0, 1, 11)]
    firsts = np.arange(72) // 6
    partners, is_same = pairs.targets.T
    np.testing.assert_array_equal(arrays.targets[partners] == arrays.targets[firsts], is_same == 1)
    assert is_same.mean() == 0.5


def test_epochs_have_pairs_of_their_own_and_the_same_ones_again() -> None:
    pairs = PairSource(Arrays(20, seed=0), n_each=3, seed=5)
    pairs.renew(1)
    first = pairs.targets
    pairs.renew(2)
    assert not np.array_equal(pairs.targets, first)
    pairs.renew(1)
    np.testing.assert_array_equal(pairs.targets, first)


def test_a_sample_keeps_its_pairs_when_another_one_is_renamed() -> None:
    arrays = Arrays(12, seed=0)
    before = draw_partners([sample.id for sample in arrays.samples], arrays.targets, 3, 0)
    renamed: list[Sample] = [*arrays.samples[:-1], Sample("other", "", "", "", "", "", "train")]
    after = draw_partners([sample.id for sample in renamed], arrays.targets, 3, 0)
    np.testing.assert_array_equal(after[:-1], before[:-1])
    assert not np.array_equal(after[-1], before[-1])
