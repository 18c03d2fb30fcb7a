"""Who holds the slots of the device's limits, by the server's events, and which slots nobody holds any more.

The server keeps the holder of a lease, but no route tells it. It counts the slots in its database, and the leases lie elsewhere, by default
in its memory: one that is started again has forgotten them, and then nothing gives back the slot of a training of before.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from uuid import UUID

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.responses import GlobalConcurrencyLimitResponse
    from prefect.events.schemas.events import Event

_LOGGER = logging.getLogger(__name__)
LEASE_SECONDS = 60  # the shortest that Prefect allows
# A lease that is over is taken back within 75 s, and the event of one that was just taken comes seconds late.
_ABANDONED_AFTER_SECONDS = 2.0 * LEASE_SECONDS
# The event of the one ahead comes within seconds; after that the name seldom changes, and each look is a few requests a limit.
_FIRST_LOOKS_SECONDS = (0.0, 5.0, 10.0)
_SECONDS_BETWEEN_LOOKS = 30.0
_ACQUIRED = "prefect.concurrency-limit.acquired"
_SOMEBODY = "another run"


@dataclass
class SlotHolders:
    """What one that waits has seen of those before it.

    Attributes:
        client: Of the server.
        names: Of the limits.
        abandoned_since: By name, of a taken slot that no run is seen to hold: since when, on the monotonic clock.
        seen: What the last look has found.
        looks_due: When the next looks are due, on the monotonic clock; none before the first.
    """

    client: SyncPrefectClient
    names: Sequence[str]
    abandoned_since: dict[str, float] = field(default_factory=dict)
    seen: str = _SOMEBODY
    looks_due: list[float] | None = None

    def name(self) -> str:
        """Of a run that holds one of the slots, by a look at most every 30 s: three in the first 10 s, as its event comes seconds late."""
        now = time.monotonic()
        if self.looks_due is None:
            self.looks_due = [now + seconds for seconds in _FIRST_LOOKS_SECONDS]
        if now >= self.looks_due[0]:
            self.looks_due = [due for due in self.looks_due if due > now] or [now + _SECONDS_BETWEEN_LOOKS]
            self.seen = self.look()
        return self.seen

    def look(self) -> str:
        """Asks the server which run holds one of the slots; as long as the event is not there, nobody is named.

        A slot that nobody has held for two leases is given back, with a warning. Should somebody hold it after all (its event was lost),
        the kernel's lock on the file still keeps apart the trainings that share its folder, which is why this is safe.
        """
        import httpx
        from prefect.exceptions import ObjectNotFound

        try:
            found = [self._holder(name) for name in self.names]
            return next((run for run in found if run is not None), _SOMEBODY)
        except (httpx.HTTPError, ObjectNotFound):  # whether there is a slot is for the next try to find out
            self.abandoned_since.clear()  # nothing was seen, so nothing is known
            return _SOMEBODY

    def _holder(self, name: str) -> str | None:
        limit = self.client.read_global_concurrency_limit_by_name(name)
        run = self._last_to_take(limit) if limit.active_slots else None
        if run is not None or not limit.active_slots:
            self.abandoned_since.pop(name, None)
        elif time.monotonic() - self.abandoned_since.setdefault(name, time.monotonic()) > _ABANDONED_AFTER_SECONDS:
            self._give_back(name)
        return run

    def _last_to_take(self, limit: GlobalConcurrencyLimitResponse) -> str | None:
        from prefect.events.filters import EventFilter, EventNameFilter, EventResourceFilter

        resource = EventResourceFilter(id=[f"prefect.concurrency-limit.{limit.id}"])
        events = self.client.read_events(EventFilter(event=EventNameFilter(name=[_ACQUIRED]), resource=resource), limit=1).events
        return next((run for event in events if (run := _run_behind(self.client, event))), None)

    def _give_back(self, name: str) -> None:
        from prefect.client.schemas.actions import GlobalConcurrencyLimitUpdate

        del self.abandoned_since[name]
        self.client.update_global_concurrency_limit(name, GlobalConcurrencyLimitUpdate(active_slots=0))
        _LOGGER.warning(
            "The server has counted the slot of %s as taken for %g s, and no run that goes on holds it: it was given back.",
            name,
            _ABANDONED_AFTER_SECONDS,
        )


def _run_behind(client: SyncPrefectClient, event: Event) -> str | None:
    """The run that took the slot then, where it may still train: the event of the one that holds it now may still be under way."""
    from prefect.exceptions import ObjectNotFound

    for resource in event.related:
        if resource.role == "flow-run":
            try:
                run = client.read_flow_run(UUID(resource.id.rpartition(".")[2]))
            except ObjectNotFound:  # deleted
                return None
            idle = run.state is not None and (run.state.is_final() or run.state.is_paused())  # one that waits for a person has trained
            return None if idle else f"the run {run.name} ({run.id}), since {event.occurred:%Y-%m-%d %H:%M:%S} UTC,"
    return None
