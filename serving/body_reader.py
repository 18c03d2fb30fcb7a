"""Reads request bodies under limits that hold while the bytes arrive, not after."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from serving.failures import RequestFailure, bad_request, overloaded, too_large

if TYPE_CHECKING:
    from starlette.requests import Request

# A failure while the client's connection is already gone; nobody sees it.
_CLIENT_CLOSED = 499


class BodyReader:
    """Reads bodies of at most `max_bytes`, together at most `max_buffered_bytes`. To be used from one event loop only."""

    def __init__(self, max_bytes: int, max_buffered_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._max_buffered_bytes = max_buffered_bytes
        self.n_buffered_bytes = 0

    @asynccontextmanager
    async def read(self, request: Request, seconds: float) -> AsyncIterator[bytes]:
        """Yields the whole body; its bytes count as buffered until the block ends.

        Raises:
            RequestFailure: The body is too large (413), too slow (408), or all bodies together are too much (503).
        """
        self._check_declared_length(request)
        chunks: list[bytes] = []
        try:
            await self._collect(request, chunks, seconds)
            yield b"".join(chunks)
        finally:
            self.n_buffered_bytes -= sum(map(len, chunks))

    def _check_declared_length(self, request: Request) -> None:
        lengths = request.headers.getlist("content-length")
        if any(not (length.isascii() and length.isdigit() and len(length) < 20) for length in lengths):
            raise bad_request("wrong_length", "the Content-Length header is no number of bytes.", "send a whole number, or chunks.")
        if any(int(length) > self._max_bytes for length in lengths):
            raise self._too_large()

    async def _collect(self, request: Request, chunks: list[bytes], seconds: float) -> None:
        from starlette.requests import ClientDisconnect

        n_bytes = 0
        try:
            async with asyncio.timeout(seconds):
                async for chunk in request.stream():
                    n_bytes += len(chunk)
                    self.n_buffered_bytes += len(chunk)
                    chunks.append(chunk)
                    if n_bytes > self._max_bytes:
                        raise self._too_large()
                    if self.n_buffered_bytes > self._max_buffered_bytes:
                        raise overloaded("too many bytes of requests are in memory at once.")
        except TimeoutError as error:
            raise RequestFailure(
                408, "slow_request", f"the request did not arrive within {seconds:.3g} s.", "send it faster, or in smaller parts."
            ) from error
        except ClientDisconnect as error:
            raise RequestFailure(_CLIENT_CLOSED, "client_closed", "the client closed the connection.", "none.") from error

    def _too_large(self) -> RequestFailure:
        return too_large(
            f"the request has more than {self._max_bytes} bytes, which is the limit.", "send fewer or smaller inputs in one request."
        )
