"""Evidently's dashboard over the windows that were judged: `regraft monitor --ui`."""

from __future__ import annotations

import os
import subprocess
import sys

from flows.session import Session
from pipelines.core.errors import ConfigurationError


def dashboard_command(session: Session, port: int) -> list[str]:
    """The command that serves the workspace's Evidently project on this machine alone.

    Args:
        session: Whose judged windows.
        port: To listen at.

    Raises:
        ConfigurationError: No window was judged yet.
    """
    folder = session.workspace.reports / "evidently"
    if not folder.is_dir():
        raise ConfigurationError(
            got=f"the workspace {session.workspace.root.name}, in which no window was judged yet.",
            allowed="at least one judged window.",
            next_step="run `regraft monitor` when there is enough traffic.",
        )
    return [
        sys.executable,
        "-W",
        "ignore",
        "-m",
        "evidently.cli",
        "ui",
        "--workspace",
        str(folder),
        "--host",
        "127.0.0.1",
        "--port",
        str(port),
    ]


def show_dashboard(session: Session, port: int) -> None:
    """Serves it until it is interrupted.

    Raises:
        ConfigurationError: No window was judged yet, or the server did not start.
    """
    command = dashboard_command(session, port)
    try:
        ended = subprocess.run(command, env=os.environ | {"DO_NOT_TRACK": "1"}, check=False)
    except KeyboardInterrupt:
        return
    if ended.returncode:
        raise ConfigurationError(
            got=f"a dashboard that ended with code {ended.returncode}.",
            allowed="a free port and an Evidently workspace.",
            next_step=f"read its output above; is port {port} taken? Then name another with --port.",
        )
