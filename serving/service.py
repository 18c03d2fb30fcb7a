"""The BentoML service: BentoML runs the process, its probes and its metrics; the routes are a mounted ASGI application.

There is no BentoML API method, so none of BentoML's request parsers is reachable: no pickle (CVE-2025-27520, CVE-2025-32375), no
fetching of files by address. This is the only module of the package that imports bentoml when it is imported.
"""

from __future__ import annotations

import logging
import os
import warnings
from typing import Any
from uuid import uuid4

import bentoml
from _bentoml_sdk.service import Service  # type: ignore[import-untyped] # `service_class` takes a subclass of this one

from serving.app import build_app
from serving.endpoint import Endpoint
from serving.failures import RequestFailure
from serving.guard import AsgiApp, Message, Receive, Send, guarded, send_failure
from serving.settings import settings_from_environment
from serving.source_digest import own_root

PACKAGED_BUNDLE = "bundle"
_log = logging.getLogger("bentoml.regraft")


class GuardedService(Service[Any]):  # type: ignore[misc] # bentoml has no types
    """BentoML's service with our guard around its whole application."""

    def to_asgi(self, is_main: bool = True) -> AsgiApp:
        """The application that BentoML's worker runs; asked for before the worker chooses its HTTP parser."""
        _choose_http_parser()
        return guarded(super().to_asgi(is_main=is_main))


class MountedApp:
    """The routes as a plain ASGI application that answers every request.

    BentoML adds pages and routes of its own around a FastAPI application, but leaves a plain one alone. And an application that raises
    before it answers leaves BentoML's client waiting until BentoML's own time limit.
    """

    def __init__(self) -> None:
        self._app: AsgiApp | None = None

    def own(self, endpoint: Endpoint) -> None:
        """Gives all further requests to `endpoint`."""
        self._app = build_app(lambda: endpoint)

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:  # noqa: D102 - ASGI
        started = False

        async def noting_send(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            if self._app is not None:
                # BentoML's mount adds a root path, which FastAPI would put into the addresses of its description.
                await self._app({**scope, "root_path": ""}, receive, noting_send)
        except Exception as error:  # noqa: BLE001 - answered and logged already; raised on, a server would log its message, which may quote a client
            _log.error("a request ended with %s", type(error).__name__)
        if not started:
            await send_failure(
                RequestFailure(503, "not_ready", "the endpoint has not started.", "send the request again.", 1), uuid4().hex, send
            )


_mounted = MountedApp()


# BentoML's time limit must be longer than ours: it leaves a request without an answer when an application fails before its time is over.
@bentoml.asgi_app(_mounted)
@bentoml.service(name="regraft", service_class=GuardedService, workers=1, traffic={"timeout": 300}, logging={"access": {"enabled": False}})
class RegraftService:
    """Classifies inputs with one bundle and changes to another one without losing a request."""

    def __init__(self) -> None:
        _quieten()
        self._endpoint = Endpoint(settings_from_environment(os.environ), own_root() / PACKAGED_BUNDLE)
        _mounted.own(self._endpoint)
        self._endpoint.start()

    async def __is_ready__(self) -> bool:
        """Asked by GET /readyz."""
        return self._endpoint.slot.current is not None

    @bentoml.on_shutdown  # type: ignore[untyped-decorator]
    def finish(self) -> None:
        """Called after the last answer was sent."""
        self._endpoint.stop()


def _choose_http_parser() -> None:
    import uvicorn.config

    # uvicorn takes httptools where it happens to be installed, and that keeps headers of any size: 100 MB of them took 1.8 GB of memory.
    # h11 refuses more than 64 kB. BentoML has no option for it. Nobody here speaks WebSocket.
    uvicorn.config.HTTP_PROTOCOLS["auto"] = "uvicorn.protocols.http.h11_impl:H11Protocol"
    uvicorn.config.WS_PROTOCOLS["auto"] = None


def _quieten() -> None:
    # They quote what clients send: parts of forms, headers for tracing, metadata of images.
    for name in ("python_multipart", "opentelemetry.baggage.propagation"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    warnings.filterwarnings("ignore", module="PIL")
