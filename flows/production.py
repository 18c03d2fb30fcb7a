"""`regraft deploy`: the workspace's flows on a Prefect server that stays up."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from flows.environment import apply_environment, users_api_url
from flows.session import Session

if TYPE_CHECKING:
    from flows.deployments import Schedules


@dataclass(frozen=True)
class Deployed:
    """Where the deployments are.

    Attributes:
        ui: Of the Prefect server.
        deployments: Names, as `prefect deployment run` takes them.
        worker: The command that carries the runs out.
    """

    ui: str
    deployments: tuple[str, ...]
    worker: str


def deploy_workspace(session: Session, conf: Path | None, schedules: Schedules) -> Deployed:
    """Registers the deployments, the schedules and the automations.

    They go to the server that PREFECT_API_URL names, or to one of the workspace's own, which is started here and stays up.
    """
    from flows.deployments import deploy
    from flows.server import start_server

    url = users_api_url()
    if url is None:
        server = start_server(session.workspace)
        url, ui = server.url, server.ui_url
        apply_environment(session.workspace, api_url=url)
    else:
        ui = url.removesuffix("/api")
    parameters = {"conf": str(conf.absolute())} if conf else None
    made = deploy(session.workspace, session.config, schedules=schedules, flow_parameters=parameters)
    home = shlex.quote(str(session.workspace.prefect_home))
    worker = f"DO_NOT_TRACK=1 PREFECT_HOME={home} PREFECT_API_URL={url} prefect worker start --pool {made.pool}"
    return Deployed(ui, made.names, worker)
