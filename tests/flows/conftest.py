"""A real Prefect server with a worker, started once; tests that use it see its environment, the others do not."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from flows import environment
from flows.deployments import Deployments, FlowSources, deploy
from flows.environment import apply_environment
from flows.server import RunningServer, start_server, stop_server
from flows.worker import RunningWorker, pool_name, start_worker, stop_worker
from pipelines.config import ProjectConfig
from pipelines.workspace import Workspace

CHECKOUT = Path(__file__).resolve().parents[2]
_SMALL_FLOWS = "tests/flows/fixtures/small_flows.py"
SMALL_FLOWS = FlowSources(CHECKOUT, *(f"{_SMALL_FLOWS}:{name}_flow" for name in ("retrain", "monitor", "batch", "reconcile")))


def project_config(project: str, cooldown_minutes: float = 60) -> ProjectConfig:
    """The shortest valid configuration."""
    return ProjectConfig.model_validate(
        {
            "project": project,
            "task": "image",
            "labels": ["a", "b"],
            "backbone": {"kind": "shipped"},
            "method": {"kind": "probe"},
            "gates": [{"kind": "goldens"}],
            "trigger": {"cooldown_minutes": cooldown_minutes},
        }
    )


def make_workspace(root: Path) -> Workspace:
    """An empty folder with what makes it a workspace."""
    (root / "conf").mkdir(parents=True)
    (root / "conf" / "toy.yaml").touch()
    (root / ".dvc").mkdir()
    return Workspace.at(root)


def until(look: Callable[[], bool], seconds: float) -> bool:
    """Whether it became true in time."""
    deadline = time.monotonic() + seconds
    while not look():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.5)
    return True


@contextmanager
def preserved_environment() -> Iterator[None]:
    """Puts `os.environ` back, also into a Prefect that is loaded."""
    before = dict(os.environ)
    for name in [name for name in before if name.startswith(("PREFECT_", "REGRAFT_"))]:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)
        environment._refresh_loaded_prefect()


@dataclass(frozen=True)
class Stack:
    """A workspace with its server, its deployments and a worker for them."""

    workspace: Workspace
    config: ProjectConfig
    server: RunningServer
    deployments: Deployments
    worker: RunningWorker


@pytest.fixture
def workspace(tmp_path: Path) -> Workspace:
    return make_workspace(tmp_path / "workspace")


@pytest.fixture
def clean_environment() -> Iterator[None]:
    with preserved_environment():
        yield


@pytest.fixture(scope="session")
def _stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    workspace = make_workspace(tmp_path_factory.mktemp("stack") / "workspace")
    config = project_config("toy", cooldown_minutes=0.5)
    with preserved_environment():
        apply_environment(workspace)
        try:
            server = start_server(workspace)
            apply_environment(workspace)
            deployments = deploy(workspace, config, sources=SMALL_FLOWS)
            worker = start_worker(workspace, deployments.pool, query_seconds=1)
        except BaseException:
            stop_server(workspace)
            raise
    yield Stack(workspace, config, server, deployments, worker)
    with preserved_environment():
        apply_environment(workspace)
        stop_worker(workspace, pool_name("toy"))
        stop_server(workspace)


@pytest.fixture
def stack(_stack: Stack) -> Iterator[Stack]:
    """The running stack, with this process's environment pointing at it."""
    with preserved_environment():
        apply_environment(_stack.workspace)
        yield _stack
