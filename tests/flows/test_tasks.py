"""Retries and time limits of tasks, with faults that are really there: a server that answers 503, a step that does not end."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import httpx
import pytest

from flows.tasks import StepPolicy, carried_out_as, in_task, time_limit
from pipelines.core.errors import ConfigurationError, DataError, RegraftError
from tests.flows.conftest import Stack

pytestmark = pytest.mark.slow

QUICK = StepPolicy(n_retries=3, retry_delay_seconds=0.05, timeout_seconds=30)


class _Flaky(BaseHTTPRequestHandler):
    asked = 0

    def do_GET(self) -> None:
        type(self).asked += 1
        self.send_response(503 if self.asked <= 2 else 200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def flaky_remote() -> Iterator[str]:
    """Answers 503 twice, then 200."""
    _Flaky.asked = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Flaky)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def endless() -> None:
    """In short calls: beside pytest's own alarm Prefect takes its other means, which does not interrupt a system call."""
    for _ in range(600):
        time.sleep(0.1)


def in_a_flow(body: Callable[[], Any], policy: StepPolicy) -> Any:
    from prefect import flow

    from flows.heartbeat import without_heartbeat

    with without_heartbeat(), carried_out_as(policy):
        return flow(name="try", persist_result=False)(body)()


def test_a_remote_that_fails_twice_is_asked_three_times(stack: Stack, flaky_remote: str) -> None:
    def fetch() -> int:
        return httpx.get(flaky_remote, trust_env=False).raise_for_status().status_code

    assert in_a_flow(lambda: in_task("fetch", fetch), QUICK) == 200
    assert _Flaky.asked == 3


def test_a_remote_that_stays_away_is_given_up_with_its_own_error(stack: Stack, flaky_remote: str) -> None:
    def fetch() -> None:
        try:
            httpx.get(flaky_remote, trust_env=False).raise_for_status()
        except httpx.HTTPStatusError as error:
            raise ConfigurationError("a remote that cannot be used.", "one that can.", "check it.") from error

    with pytest.raises(ConfigurationError, match="a remote that cannot be used"):
        in_a_flow(lambda: in_task("fetch", fetch), StepPolicy(n_retries=1, retry_delay_seconds=0.05))
    assert _Flaky.asked == 2


def test_bad_data_is_looked_at_once(stack: Stack) -> None:
    tries: list[int] = []

    def read() -> None:
        tries.append(1)
        raise DataError("a table without labels.", "labels.", "add them.")

    with pytest.raises(DataError, match="a table without labels"):
        in_a_flow(lambda: in_task("read", read), QUICK)
    assert tries == [1]


def test_a_step_that_does_not_end_is_ended_once(stack: Stack) -> None:
    tries: list[int] = []

    def wait() -> None:
        tries.append(1)
        endless()

    started = time.monotonic()
    policy = StepPolicy(n_retries=3, retry_delay_seconds=0.05, timeout_seconds=0.5)
    with pytest.raises(RegraftError, match=r"the step 'wait', which had not ended after 0\.5 s.*operation\.task_timeout_minutes"):
        in_a_flow(lambda: in_task("wait", wait), policy)
    assert tries == [1]
    assert time.monotonic() - started < 30


def test_a_run_has_a_time_limit_around_those_of_its_steps(stack: Stack) -> None:
    started = time.monotonic()

    def body() -> None:
        with time_limit("this retraining", 0.01, "operation.retrain_timeout_minutes"):
            in_task("short", time.sleep, 0.3)
            in_task("long", endless)

    with pytest.raises(RegraftError, match=r"this retraining, which had not ended after 0\.6 s.*operation\.retrain_timeout_minutes"):
        in_a_flow(body, QUICK)
    assert time.monotonic() - started < 30, "it went on"
