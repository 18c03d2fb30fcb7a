"""The demo's clients: they send held-out digits to the endpoint over HTTP and count what became of each request."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import cycle
from pathlib import Path

from pipelines.dataset import read_labelled_paths
from pipelines.domain_shift import shift_scanner
from pipelines.progress import Progress
from serving.client import EndpointClient, EndpointError
from serving.schemas import Feedback, Prediction

OLD_DOMAIN = "scanner-a"
NEW_DOMAIN = "scanner-b"
_N_CLIENTS = 4
_PAUSE_SECONDS = 0.1


@dataclass(frozen=True)
class Digit:
    """A digit as it is sent, with the label that the sender knows."""

    image: bytes
    label: str
    domain: str


@dataclass(frozen=True)
class Answered:
    """A digit with the endpoint's answer."""

    digit: Digit
    prediction: Prediction
    bundle: str

    @property
    def correct(self) -> bool:
        """Whether the answer is the label."""
        return self.prediction.label == self.digit.label


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


def held_out_digits(data: Path) -> list[Digit]:
    """The digits that no stage uses, as the first scanner gives them."""
    return [Digit((data / path).read_bytes(), label, OLD_DOMAIN) for path, label in read_labelled_paths(data, "holdout")]


def through_new_scanner(digits: Sequence[Digit]) -> list[Digit]:
    """The same digits as another scanner gives them; the seed is the digit's place."""
    return [Digit(shift_scanner(digit.image, seed), digit.label, NEW_DOMAIN) for seed, digit in enumerate(digits)]


def send_all(client: EndpointClient, digits: Sequence[Digit], counts: Counts, progress: Progress, activity: str) -> list[Answered]:
    """Sends each digit in a request of its own, four at a time; the answers come in the order of the digits."""
    answers: list[Answered] = []
    with ThreadPoolExecutor(_N_CLIENTS) as pool:
        for number, answer in enumerate(pool.map(lambda digit: send(client, digit, counts), digits), start=1):
            if answer is not None:
                answers.append(answer)
            progress(activity, number, len(digits))
    return answers


def send(client: EndpointClient, digit: Digit, counts: Counts) -> Answered | None:
    """One request; never repeated."""
    from pipelines.core.errors import ConfigurationError

    try:
        answer = client.predict([digit.image], digit.domain)
    except EndpointError:
        counts.add(failed=True)
        return None
    except ConfigurationError:  # nobody answered
        counts.add(lost=True)
        return None
    counts.add()
    return Answered(digit, answer.predictions[0], answer.bundle)


def label_through_feedback(client: EndpointClient, answered: Sequence[Answered]) -> int:
    """Sends the true labels of answered digits to POST /feedback; returns how many were accepted."""
    return client.feedback([Feedback(id=item.prediction.id, label=item.digit.label) for item in answered]).n_accepted


@contextmanager
def steady_traffic(url: str, digits: Sequence[Digit], counts: Counts) -> Iterator[None]:
    """A client that sends digits one after the other, again and again, for as long as the block runs."""
    stop = threading.Event()

    def run() -> None:
        with EndpointClient(url) as client:
            for digit in cycle(digits):
                if stop.is_set():
                    return
                send(client, digit, counts)
                stop.wait(_PAUSE_SECONDS)

    thread = threading.Thread(target=run, name="steady-traffic")
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()
