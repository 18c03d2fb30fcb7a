"""The champion's Bento as a process of this machine, with the workspace's pointer, log and limits."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from flows.background import write_record
from flows.endpoint_record import EndpointRecord, record_path
from flows.promotion import champion_bundle, point_to_champion, pointer_path
from flows.session import Session

if TYPE_CHECKING:
    from serving.process import RunningEndpoint
    from serving.settings import EndpointSettings


LOOPBACK = "127.0.0.1"


@dataclass(frozen=True)
class ServedChampion:
    """A running endpoint.

    Attributes:
        url: Its address.
        bundle: The champion when it started; a later promotion is swapped in.
    """

    url: str
    bundle: str
    process: RunningEndpoint

    def wait(self) -> None:
        """Until the server ends, or a person interrupts."""
        try:
            self.process.wait()
        except KeyboardInterrupt:
            return


@contextmanager
def serving(session: Session, port: int | None = None) -> Iterator[ServedChampion]:
    """Serves the champion for as long as the block runs.

    Args:
        session: Of the workspace.
        port: Instead of `serving.port`.

    Raises:
        ConfigurationError: There is no champion, or the port is in use.
    """
    from serving.build import build_bento
    from serving.process import refuse_port_in_use, serve_bento

    section, workspace = session.config.serving, session.workspace
    chosen = port or section.port
    refuse_port_in_use(section.host, chosen)  # before the Bento is built
    record = point_to_champion(session)
    build = build_bento(champion_bundle(session, record), session.config.project, workspace.bentoml_home)
    settings = endpoint_settings(session)
    with serve_bento(build.path, section.host, chosen, settings, workspace.logs / "endpoint.log") as process:
        created_at = psutil.Process(process.pid).create_time()
        write_record(record_path(workspace), EndpointRecord(pid=process.pid, created_at=created_at, url=process.url))
        try:
            yield ServedChampion(process.url, record.bundle_id, process)
        finally:
            record_path(workspace).unlink(missing_ok=True)


def endpoint_settings(session: Session) -> EndpointSettings:
    """The conf file's `serving` section with the workspace's folders."""
    from serving.settings import EndpointSettings

    section, folder = session.config.serving, session.workspace.serving
    return EndpointSettings(
        pointer=pointer_path(session),
        log_dir=folder / "log",
        raw_dir=folder / "raw",
        sample_raw_frac=section.sample_raw_frac,
        max_request_mb=section.max_request_mb,
        max_inputs_per_request=section.max_inputs_per_request,
        timeout_seconds=section.timeout_seconds,
    )


def free_port(host: str = LOOPBACK) -> int:
    """A port that nothing listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])
