"""How long a running endpoint takes to answer single requests, as a client on this machine sees it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice

from pipelines.core.errors import ConfigurationError
from pipelines.core.request_log import CHECK_DOMAIN
from serving.client import EndpointClient, EndpointError

# The first requests load code, allocate memory and choose kernels; no later one pays for that again.
N_WARM_UP = 20


@dataclass(frozen=True)
class MeasuredLatency:
    """Times of single requests, one at a time over one kept connection.

    Attributes:
        milliseconds: Of each request that was answered after the warm-up, in the order of sending.
        n_warm_up: Requests before them, which were not timed.
        failure: What the first request that was not answered got; nothing was asked after it. None where all were answered.
    """

    milliseconds: tuple[float, ...]
    n_warm_up: int
    failure: str | None = None


def measure_latency(
    url: str, inputs: Iterator[bytes], n_requests: int, kind: str = "image", n_warm_up: int = N_WARM_UP, timeout_seconds: float = 60
) -> MeasuredLatency:
    """Sends single inputs one after the other and times each answer: encoding, the loopback interface, the endpoint, reading the answer.

    The requests are logged under `CHECK_DOMAIN`, which readers of the request log leave out.

    Args:
        url: Of the endpoint.
        inputs: Raw, as many as are asked for; each is taken before its request begins.
        n_requests: Timed.
        kind: Of the inputs.
        n_warm_up: Sent before them.
        timeout_seconds: For each request.
    """
    milliseconds: list[float] = []
    with EndpointClient(url, timeout_seconds) as client:
        try:
            for data in islice(inputs, n_warm_up):
                client.predict([data], CHECK_DOMAIN, kind)
            for data in islice(inputs, n_requests):
                milliseconds.append(_timed(client, data, kind))
        except (EndpointError, ConfigurationError) as error:
            return MeasuredLatency(tuple(milliseconds), n_warm_up, error.got)
    return MeasuredLatency(tuple(milliseconds), n_warm_up)


def _timed(client: EndpointClient, data: bytes, kind: str) -> float:
    started = time.perf_counter()
    client.predict([data], CHECK_DOMAIN, kind)
    return 1000 * (time.perf_counter() - started)
