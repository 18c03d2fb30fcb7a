from __future__ import annotations

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from pipelines.training.blas_threads import one_thread_for_few


def n_threads() -> set[int]:
    np.ones((2, 2)) @ np.ones((2, 2))
    return {library["num_threads"] for library in threadpool_info() if library["user_api"] == "blas"}


@pytest.mark.parametrize(("n_values", "inside"), [(1_000, {1}), (10**9, {2})])
def test_few_values_get_one_thread_and_what_was_before_comes_back(n_values: int, inside: set[int]) -> None:
    with threadpool_limits(2, user_api="blas"):
        with one_thread_for_few(n_values):
            assert n_threads() == inside
        assert n_threads() == {2}


def test_it_comes_back_after_an_error_too() -> None:
    with threadpool_limits(2, user_api="blas"):
        with pytest.raises(ZeroDivisionError, match="division"), one_thread_for_few(1):
            _ = 1 / 0
        assert n_threads() == {2}
