"""A thread pool that refuses work instead of piling it up."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

from serving.failures import RequestFailure, overloaded

T = TypeVar("T")


class BoundedPool:
    """At most `n_threads` jobs run and `n_waiting` wait.

    A job that runs cannot be interrupted: its place stays taken after its client was told about the time-out, until it has ended.
    """

    def __init__(self, n_threads: int, n_waiting: int, prepare_thread: Callable[[], None]) -> None:
        self._n_places = n_threads + n_waiting
        self._n_taken = 0
        self._lock = threading.Lock()
        self._executor = ThreadPoolExecutor(n_threads, thread_name_prefix="regraft-worker", initializer=prepare_thread)

    def refuse_if_full(self) -> None:
        """Raises what `run` would raise now, so that a body need not be read first."""
        if self._n_taken >= self._n_places:
            raise overloaded(f"{self._n_places} requests are being worked on or waiting, which is the limit.")

    async def run(self, job: Callable[[threading.Event], T], seconds: float) -> T:
        """Runs a job in the pool.

        Args:
            job: Called with an event that is set when nobody waits for the result any more.
            seconds: To wait for the result.

        Raises:
            RequestFailure: No place is free (503), or the time is over (504).
        """
        abandoned = threading.Event()
        self._take_place()
        future = self._executor.submit(job, abandoned)
        future.add_done_callback(self._give_place_back)
        try:
            return await asyncio.wait_for(asyncio.wrap_future(future), seconds)
        except TimeoutError as error:
            raise RequestFailure(
                504,
                "timeout",
                "the request was not answered in time.",
                "send fewer or smaller inputs, or ask for a longer timeout_seconds.",
            ) from error
        finally:
            abandoned.set()

    def close(self) -> None:
        """Waits for the jobs that run; those that wait are dropped."""
        self._executor.shutdown(wait=True, cancel_futures=True)

    def _take_place(self) -> None:
        with self._lock:
            self.refuse_if_full()
            self._n_taken += 1

    def _give_place_back(self, _: Future[T]) -> None:
        with self._lock:
            self._n_taken -= 1
