"""The pool: never more than it was told to take, and every place comes back."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

from serving.bounded_pool import BoundedPool
from serving.failures import RequestFailure


def test_takes_what_fits_and_refuses_the_rest() -> None:
    pool = BoundedPool(2, 3, lambda: None)
    release, lock = threading.Event(), threading.Lock()
    running = most = 0

    def job(_: threading.Event) -> int:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        release.wait(10)
        with lock:
            running -= 1
        return 1

    async def drive() -> list[int | BaseException]:
        tasks = [asyncio.create_task(pool.run(job, 10)) for _ in range(8)]
        await asyncio.sleep(0.05)
        release.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    results = asyncio.run(drive())
    pool.close()
    refused = [result for result in results if isinstance(result, RequestFailure)]
    assert (results.count(1), len(refused), most) == (5, 3, 2)
    assert all((failure.status, failure.retry_after_seconds) == (503, 1) for failure in refused)
    assert pool._n_taken == 0


def test_a_late_job_is_told_and_keeps_its_place_until_it_ends() -> None:
    pool = BoundedPool(1, 0, lambda: None)
    told = threading.Event()

    def job(abandoned: threading.Event) -> None:
        assert abandoned.wait(10)
        time.sleep(0.05)
        told.set()

    async def drive() -> None:
        with pytest.raises(RequestFailure, match="504 timeout"):
            await pool.run(job, 0.02)
        with pytest.raises(RequestFailure, match="503 overloaded: 1 requests are being worked on"):
            pool.refuse_if_full()
        while not told.is_set():
            await asyncio.sleep(0.01)
        await asyncio.sleep(0.02)
        assert await pool.run(lambda _: 7, 5) == 7

    asyncio.run(drive())
    pool.close()


def test_an_error_of_the_job_comes_out_and_frees_its_place() -> None:
    pool = BoundedPool(1, 0, lambda: None)

    def job(_: threading.Event) -> None:
        raise ValueError("planted")

    for _ in range(3):
        with pytest.raises(ValueError, match="planted"):
            asyncio.run(pool.run(job, 5))
    pool.close()
