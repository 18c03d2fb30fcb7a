"""The demo's clients: they send labelled items to the endpoint over HTTP and count what became of each request."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle

from flows.demo.scenario import Item
from pipelines.progress import Progress
from serving.client import EndpointClient, EndpointError
from serving.schemas import Feedback, Prediction

_N_CLIENTS = 4
_PAUSE_SECONDS = 0.1


@dataclass(frozen=True)
class Answered:
    """An item with the endpoint's answer."""

    item: Item
    prediction: Prediction
    bundle: str

    @property
    def correct(self) -> bool:
        """Whether the answer is the label."""
        return self.prediction.label == self.item.label


@dataclass
class Counts:
    """Requests: every one that was sent is answered well, failed (an error status), or lost (no answer at all)."""

    sent: int = 0
    failed: int = 0
    lost: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock, repr=False)

    def add(self, *, failed: bool = False, lost: bool = False) -> None:
        """Counts one request; called from several threads."""
        with self._lock:
            self.sent += 1
            self.failed += failed
            self.lost += lost

    def as_json(self) -> dict[str, int]:
        """For the summary."""
        return {"sent": self.sent, "failed": self.failed, "lost": self.lost}


def send_all(client: EndpointClient, items: Sequence[Item], kind: str, counts: Counts, progress: Progress, activity: str) -> list[Answered]:
    """Sends each item in a request of its own, four at a time; the answers come in the order of the items.

    Args:
        client: Of the endpoint.
        items: To be sent.
        kind: Of the items.
        counts: Of what becomes of the requests.
        progress: Told after each.
        activity: What it is told.
    """
    answers: list[Answered] = []
    with ThreadPoolExecutor(_N_CLIENTS) as pool:
        for number, answer in enumerate(pool.map(lambda item: send(client, item, kind, counts), items), start=1):
            if answer is not None:
                answers.append(answer)
            progress(activity, number, len(items))
    return answers


def send(client: EndpointClient, item: Item, kind: str, counts: Counts) -> Answered | None:
    """One request; never repeated."""
    from pipelines.core.errors import ConfigurationError

    try:
        answer = client.predict([item.content], item.domain, kind)
    except EndpointError:
        counts.add(failed=True)
        return None
    except ConfigurationError:  # nobody answered
        counts.add(lost=True)
        return None
    counts.add()
    return Answered(item, answer.predictions[0], answer.bundle)


def label_through_feedback(client: EndpointClient, answered: Sequence[Answered]) -> int:
    """Sends the true labels of answered items to POST /feedback; returns how many were accepted."""
    return client.feedback([Feedback(id=one.prediction.id, label=one.item.label) for one in answered]).n_accepted


@contextmanager
def steady_traffic(url: str, items: Sequence[Item], kind: str, counts: Counts) -> Iterator[None]:
    """A client that sends items one after the other, again and again, for as long as the block runs."""
    stop = threading.Event()

    def run() -> None:
        with EndpointClient(url) as client:
            for item in cycle(items):
                if stop.is_set():
                    return
                send(client, item, kind, counts)
                stop.wait(_PAUSE_SECONDS)

    thread = threading.Thread(target=run, name="steady-traffic")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
