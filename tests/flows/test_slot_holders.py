"""Who holds a slot by what a server answers; `test_device_lock.py` and `test_two_deployments.py` ask real ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate
from prefect.client.schemas.objects import State
from prefect.exceptions import ObjectNotFound
from prefect.states import Completed, Paused, Running

from flows.slot_holders import SlotHolders

NAMES = ["gpu-1", "gpu-2"]


@dataclass
class Server:
    """What Prefect's routes answer, from three tables."""

    slots: dict[str, int]
    last_to_take: dict[str, UUID] = field(default_factory=dict)
    states: dict[UUID, State[Any]] = field(default_factory=dict)
    is_down: bool = False

    def read_global_concurrency_limit_by_name(self, name: str) -> Any:
        if self.is_down:
            raise httpx.ConnectError("refused")
        return SimpleNamespace(id=f"id-of-{name}", active_slots=self.slots[name])

    def read_events(self, wanted: Any, limit: int) -> Any:
        assert wanted.event.name == ["prefect.concurrency-limit.acquired"]
        (resource,) = wanted.resource.id
        run = self.last_to_take.get(resource.removeprefix("prefect.concurrency-limit.id-of-"))
        related = [SimpleNamespace(role="flow-run", id=f"prefect.flow-run.{run}")]
        event = SimpleNamespace(related=related, occurred=datetime(2026, 5, 1, tzinfo=UTC))
        return SimpleNamespace(events=[event][: limit if run else 0])

    def read_flow_run(self, run: UUID) -> Any:
        if run not in self.states:
            raise ObjectNotFound(http_exc=Exception("deleted"))
        return SimpleNamespace(id=run, name="toy-drift", state=self.states[run])

    def update_global_concurrency_limit(self, name: str, update: GlobalConcurrencyLimitUpdate) -> None:
        assert update.model_dump(exclude_unset=True) == {"active_slots": 0}
        self.slots[name] = 0


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1_000.0]
    monkeypatch.setattr("flows.slot_holders.time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


def holders(server: Any) -> SlotHolders:
    return SlotHolders(server, list(server.slots))


def warnings_of(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "flows.slot_holders"]


def test_a_run_that_goes_on_is_named_and_keeps_its_slot(clock: list[float], caplog: pytest.LogCaptureFixture) -> None:
    run = uuid4()
    server = Server({"gpu-1": 0, "gpu-2": 1}, {"gpu-1": uuid4(), "gpu-2": run}, {run: Running()})
    seen = holders(server)
    for _ in range(100):
        assert seen.look() == f"the run toy-drift ({run}), since 2026-05-01 00:00:00 UTC,"
        clock[0] += 30
    assert server.slots == {"gpu-1": 0, "gpu-2": 1}
    assert warnings_of(caplog) == []


@pytest.mark.parametrize("state", [None, Completed(), Paused()], ids=["deleted", "ended", "waits for a person"])
@pytest.mark.parametrize("took", [True, False])
def test_a_slot_that_no_run_holds_is_given_back_after_two_leases(
    clock: list[float], caplog: pytest.LogCaptureFixture, state: State[Any] | None, took: bool
) -> None:
    run = uuid4()
    server = Server({"gpu-1": 1, "gpu-2": 0}, {"gpu-1": run} if took else {}, {} if state is None else {run: state})
    seen = holders(server)
    for seconds in (0, 60, 60):
        clock[0] += seconds
        assert seen.look() == "another run"
        assert server.slots["gpu-1"] == 1
    clock[0] += 1
    seen.look()
    assert server.slots["gpu-1"] == 0
    seen.look()
    (said,) = warnings_of(caplog)
    assert said.startswith("The server has counted the slot of gpu-1 as taken for 120 s, and no run that goes on holds it")


def test_the_server_is_seldom_asked(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """By one that tries every 3 s at first and every 15 s later, for ten minutes."""
    run, begun, asked_at = uuid4(), clock[0], list[float]()
    server = Server({"gpu-1": 1})
    seen = holders(server)

    def look() -> str:
        asked_at.append(clock[0] - begun)
        return SlotHolders.look(seen)

    monkeypatch.setattr(seen, "look", look)
    assert seen.name() == "another run"
    server.last_to_take, server.states = {"gpu-1": run}, {run: Running()}  # its event has come
    assert seen.name() == "another run"
    for pause in [3.0] * 4 + [15.0] * 40:
        clock[0] += pause
        assert (str(run) in seen.name()) is (clock[0] - begun >= 5)
    assert asked_at[:5] == [0, 6, 12, 42, 72]
    assert len(asked_at) == 3 + 600 // 30


def test_only_the_slot_that_nobody_holds_is_given_back(clock: list[float]) -> None:
    run = uuid4()
    server = Server({"gpu-1": 1, "gpu-2": 1}, {"gpu-2": run}, {run: Running()})
    seen = holders(server)
    assert str(run) in seen.look()
    clock[0] += 121
    assert str(run) in seen.look()
    assert server.slots == {"gpu-1": 0, "gpu-2": 1}


def test_the_wait_begins_anew_where_the_slot_was_free_or_held_or_nothing_was_seen(clock: list[float]) -> None:
    run = uuid4()
    server = Server({"gpu-1": 1}, {"gpu-1": run})
    seen = holders(server)

    def held() -> None:
        server.states[run] = Running()

    def free() -> None:
        server.slots["gpu-1"] = 0

    def down() -> None:
        server.is_down = True

    for change in (held, free, down):
        seen.look()
        clock[0] += 119
        change()
        seen.look()
        server.states, server.slots, server.is_down = {}, {"gpu-1": 1}, False
        clock[0] += 119
        seen.look()
        assert server.slots == {"gpu-1": 1}, change.__name__
