"""How many threads linear algebra on features may use."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

# 128 MB of float64. Below it a product is done before other threads have begun, and where other work shares the cores OpenBLAS's threads
# spin for each other.
_FEW_VALUES = 16_000_000


@contextmanager
def one_thread_for_few(n_values: int) -> Iterator[None]:
    """Limits NumPy's and SciPy's BLAS to one thread where a matrix has few values, which also gives the same bits on any number of cores.

    Args:
        n_values: Of the matrix.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # 3.8 ships no types

    with threadpool_limits(1 if n_values < _FEW_VALUES else None, user_api="blas"):
        yield
