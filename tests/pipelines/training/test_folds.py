from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.core.errors import DataError
from pipelines.training.folds import fold_numbers, n_usable_folds

LABELS = ("ant", "bee", "cow")


@settings(max_examples=40)
@given(st.lists(st.integers(2, 30), min_size=2, max_size=5), st.integers(2, 6), st.integers(0, 99))
def test_every_fold_has_its_share_of_every_class(counts: list[int], wanted: int, seed: int) -> None:
    targets = np.repeat(np.arange(len(counts)), counts)
    n_folds = n_usable_folds(targets, [str(place) for place in range(len(counts))], wanted)
    assert n_folds == min(wanted, *counts)
    numbers = fold_numbers(targets, n_folds, seed)
    for place, count in enumerate(counts):
        shares = np.bincount(numbers[targets == place], minlength=n_folds)
        assert shares.min() >= 1
        assert shares.max() - shares.min() <= 1
        assert shares.sum() == count


@settings(max_examples=40)
@given(st.integers(12, 60), st.integers(2, 6), st.integers(2, 4), st.integers(0, 999))
def test_many_labels_are_spread_over_the_folds(n: int, k: int, n_folds: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    targets = (rng.random((n, k)) < rng.uniform(0.05, 0.5, k)).astype(np.float32)
    numbers = fold_numbers(targets, n_folds, seed)
    assert set(numbers.tolist()) == set(range(n_folds))
    rarest = int(targets.sum(axis=0).argmin())
    shares = np.bincount(numbers[targets[:, rarest] > 0], minlength=n_folds)
    assert shares.max() - shares.min() <= 1
    sizes = np.bincount(numbers, minlength=n_folds)
    assert sizes.max() - sizes.min() <= k + 1


def test_a_rare_label_among_many_is_in_different_folds() -> None:
    targets = np.zeros((40, 2), dtype=np.float32)
    targets[:20, 0], targets[[3, 30], 1] = 1, 1
    numbers = fold_numbers(targets, 3, seed=0)
    assert numbers[3] != numbers[30]


def test_same_seed_same_folds() -> None:
    targets = np.arange(40) % 4
    many = np.eye(4)[targets]
    for some in (targets, many):
        np.testing.assert_array_equal(fold_numbers(some, 3, 5), fold_numbers(some, 3, 5))
        assert (fold_numbers(some, 3, 5) != fold_numbers(some, 3, 6)).any()


def test_one_sample_of_a_label_is_refused_by_name() -> None:
    with pytest.raises(DataError, match=r"1 of 'bee', 0 of 'cow'.*at least 2 of every label.*method prototype"):
        n_usable_folds(np.array([0, 0, 1]), LABELS, 3)


def test_a_label_that_no_sample_has_is_refused_by_name() -> None:
    with pytest.raises(DataError, match="none with 'bee'"):
        n_usable_folds(np.array([[1, 0, 1], [0, 0, 0]]), LABELS, 3)
