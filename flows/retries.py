"""Which failures another try can help: those of a network, and no other.

A wrong conf file, bad data, a refusal and a bug stay what they are however often they are tried; a second try would only hide them for
some minutes. An error of ours that says "the remote cannot be used" counts by what it was raised from.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator

from pipelines.core.errors import DataError, RefusedError

# By module, so that no client is imported for the question: an error's class can only be there where its module is.
_UNREACHABLE = {
    "httpx": ("TransportError",),
    "requests.exceptions": ("ConnectionError", "Timeout", "ChunkedEncodingError"),
    "urllib3.exceptions": ("HTTPError",),
    "aiohttp.client_exceptions": ("ClientConnectionError", "ClientPayloadError"),
    "botocore.exceptions": ("HTTPClientError", "ConnectionError"),
}
_HTTP_WORTH_ANOTHER_TRY = frozenset({408, 425, 429, 500, 502, 503, 504})


def another_try_can_help(error: BaseException) -> bool:
    """Whether the cause of an error is something that could not be reached, or that was too busy to answer."""
    chain = list(_causes(error))
    if any(isinstance(link, DataError | RefusedError) or _is_time_limit(link) for link in chain):
        return False
    return any(_is_unreachable(link) for link in chain)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__


def _is_time_limit(error: BaseException) -> bool:
    """A step that ran into its own time limit would run into it again; to Python it looks like a socket's time-out."""
    from prefect.flow_engine import FlowRunTimeoutError
    from prefect.task_engine import TaskRunTimeoutError

    return isinstance(error, FlowRunTimeoutError | TaskRunTimeoutError)


def _is_unreachable(error: BaseException) -> bool:
    if isinstance(error, ConnectionError | TimeoutError | socket.gaierror):
        return True
    known = tuple(
        getattr(sys.modules[module], name)
        for module, names in _UNREACHABLE.items()
        if module in sys.modules
        for name in names
        if hasattr(sys.modules[module], name)
    )
    return isinstance(error, known) or _http_status(error) in _HTTP_WORTH_ANOTHER_TRY


def _http_status(error: BaseException) -> int | None:
    """Of an answer that httpx, requests or botocore made an error of."""
    answer = getattr(error, "response", None)
    metadata = answer.get("ResponseMetadata", {}) if isinstance(answer, dict) else {}  # botocore's is a dict
    status = metadata.get("HTTPStatusCode") or getattr(answer, "status_code", None)
    return status if isinstance(status, int) else None
