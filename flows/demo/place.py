"""The demo's folder: a workspace, its DVC remote and the results, none of it in the clone's own history."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

from flows.background import stop
from flows.demo.scenario import Scenario
from flows.endpoint_record import recorded_endpoint
from flows.new_workspace import start_history
from pipelines.conf_template import render_conf
from pipelines.core.errors import ConfigurationError
from pipelines.workspace import Workspace

_MARKER = ".regraft-demo"
_IDENTITY = ("Regraft demo", "demo@example.invalid")


def prepare(folder: Path, port: int, scenario: Scenario) -> Workspace:
    """Makes the demo's workspace in `folder`, in place of an earlier demo's.

    Raises:
        ConfigurationError: The folder holds something else.
    """
    root = folder.expanduser().resolve()
    if root.exists() and any(root.iterdir()):
        _remove_earlier_demo(root)
    root.mkdir(parents=True, exist_ok=True)
    (root / _MARKER).write_text("Made by `regraft demo`, which replaces this folder when it runs again.\n")
    workspace = root / "workspace"
    scenario.materialise(workspace / "data")
    conf = render_conf(scenario.project, scenario.task, scenario.labels, scenario.n_samples, replace(scenario.conf, port=port))
    start_history(workspace, scenario.project, conf, root / "storage", _IDENTITY)
    return Workspace.at(workspace)


def _remove_earlier_demo(root: Path) -> None:
    if not (root / _MARKER).is_file():
        raise ConfigurationError(
            got=f"the folder {root}, which is not empty and not an earlier demo's.",
            allowed="a new or empty folder, or that of an earlier demo.",
            next_step="name another with --folder.",
        )
    stop_leftovers(Workspace(root / "workspace"))
    shutil.rmtree(root)


def stop_leftovers(workspace: Workspace) -> None:
    """Ends the servers of a demo that was killed."""
    from flows.server import stop_server
    from flows.worker import pool_name, stop_worker

    if endpoint := recorded_endpoint(workspace):
        stop(endpoint, grace_seconds=10)
    for conf in sorted((workspace.root / "conf").glob("*.yaml")):  # named like the project
        stop_worker(workspace, pool_name(conf.stem))
    stop_server(workspace)
