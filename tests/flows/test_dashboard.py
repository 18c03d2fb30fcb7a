from __future__ import annotations

from pathlib import Path

import pytest

from flows.dashboard import dashboard_command, show_dashboard
from flows.session import Session
from pipelines.config import load_config
from pipelines.core.errors import ConfigurationError
from pipelines.workspace import Workspace

CONF = Path(__file__).parents[2] / "conf" / "digits.yaml"


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(Workspace(tmp_path), load_config(CONF))


def test_before_the_first_window_there_is_nothing_to_show(session: Session) -> None:
    with pytest.raises(ConfigurationError, match=r"in which no window was judged yet\..*run `regraft monitor`"):
        show_dashboard(session, 8000)


def test_it_listens_on_this_machine_alone(session: Session) -> None:
    folder = session.workspace.reports / "evidently"
    folder.mkdir(parents=True)
    command = dashboard_command(session, 8123)
    assert command[command.index("--host") + 1] == "127.0.0.1"
    assert command[command.index("--port") + 1] == "8123"
    assert command[command.index("--workspace") + 1] == str(folder)


@pytest.mark.slow
def test_evidently_serves_the_workspace(session: Session) -> None:
    import subprocess
    import time

    import httpx

    from flows.endpoint import free_port

    (session.workspace.reports / "evidently").mkdir(parents=True)
    port = free_port()
    server = subprocess.Popen(dashboard_command(session, port), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while True:
            try:
                answer = httpx.get(f"http://127.0.0.1:{port}/api/projects", timeout=5)
                break
            except httpx.TransportError:
                assert time.monotonic() < deadline
                assert server.poll() is None
                time.sleep(1)
        assert answer.status_code == 200
    finally:
        server.terminate()
        server.wait(30)
