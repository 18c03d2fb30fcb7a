"""Fixtures and markers that every test may use."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import settings

# An example's first import or compilation takes longer than its repetition, which Hypothesis would call flaky.
settings.register_profile("regraft", deadline=None, derandomize=True)
settings.load_profile("regraft")

ROOT = Path(__file__).resolve().parent.parent
SHARED = ROOT.parent / "shared"


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skips a `shared` test where the data is missing, or fails it where CI promised that it is there."""
    marker = item.get_closest_marker("shared")
    if marker is None:
        return
    if not marker.args:
        pytest.fail("mark it as @pytest.mark.shared('what it shows'): the reason is printed where it is skipped")
    if not SHARED.is_dir():
        message = f"../shared is not there; with it this would have shown {marker.args[0]}"
        if os.environ.get("REQUIRE_SHARED") == "1":
            pytest.fail(message)
        pytest.skip(message)


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder with real data and weights."""
    return SHARED


@pytest.fixture(autouse=True, scope="session")
def _no_telemetry() -> None:
    """What the command line sets before anything is imported."""
    for name, value in {
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "GX_ANALYTICS_ENABLED": "false",
        "BENTOML_DO_NOT_TRACK": "true",
        "DVC_NO_ANALYTICS": "1",
        "HF_HUB_DISABLE_TELEMETRY": "1",
        # A stage logs outside of a flow run, too; a test before it in this process may have brought Prefect's handler in.
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
    }.items():
        os.environ.setdefault(name, value)


@pytest.fixture
def identity(monkeypatch: pytest.MonkeyPatch) -> None:
    """A git identity of the test's own; the machine's settings are not read."""
    for role in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{role}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{role}_EMAIL", "test@example.invalid")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)


def git(folder: Path, *arguments: str) -> str:
    """Runs git in a folder and returns what it printed."""
    return subprocess.run(["git", "-C", str(folder), *arguments], check=True, capture_output=True, text=True).stdout
