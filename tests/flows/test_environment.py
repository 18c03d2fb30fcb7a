from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from flows.background import write_record
from flows.environment import API_URL, apply_environment, environment_without_server, telemetry_free_environment
from flows.server_record import ServerRecord, record_path
from pipelines.core.errors import ConfigurationError
from pipelines.workspace import Workspace
from tests.flows.conftest import CHECKOUT, make_workspace

pytestmark = pytest.mark.usefixtures("clean_environment")

THEIRS = "http://prefect.example:4200/api"


def record_server(workspace: Workspace, created_at: float | None = None) -> None:
    """Says that this very process is the workspace's server."""
    created_at = psutil.Process().create_time() if created_at is None else created_at
    write_record(record_path(workspace), ServerRecord(pid=os.getpid(), created_at=created_at, port=4321))


def in_fresh_process(code: str, workspace: Workspace, folder: Path = CHECKOUT) -> dict[str, object]:
    """Runs code with `workspace` in it, in another folder if wanted, and returns what it printed as JSON."""
    lines = ["import json, sys", "from pathlib import Path", "from pipelines.workspace import Workspace"]
    lines.append(f"workspace = Workspace(Path({str(workspace.root)!r}))")
    environment = {**os.environ, "PYTHONPATH": str(CHECKOUT)}
    answer = subprocess.run(
        [sys.executable, "-c", "\n".join([*lines, code])], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    assert answer.returncode == 0, answer.stderr
    return dict(json.loads(answer.stdout))


def test_state_lies_in_the_workspace(workspace: Workspace) -> None:
    apply_environment(workspace)
    for name in ("PREFECT_HOME", "PREFECT_PROFILES_PATH", "BENTOML_HOME"):
        assert Path(os.environ[name]).is_relative_to(workspace.state)
    assert workspace.prefect_home.is_dir()


def test_what_a_user_has_switched_on_is_switched_off(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_SERVER_ANALYTICS_ENABLED", "true")
    monkeypatch.setenv("PREFECT_HOME", "/somewhere/else")
    monkeypatch.setenv("PREFECT_PROFILE", "production")
    apply_environment(workspace)
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["PREFECT_HOME"] == str(workspace.prefect_home)
    assert os.environ["PREFECT_PROFILE"] == "ephemeral"


def test_a_users_choice_of_loggers_stays(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PREFECT_LOGGING_EXTRA_LOGGERS", "mine")
    assert telemetry_free_environment(workspace)["PREFECT_LOGGING_EXTRA_LOGGERS"] == "mine"


def test_no_server_is_named_where_there_is_none(workspace: Workspace) -> None:
    apply_environment(workspace)
    assert API_URL not in os.environ


def test_the_users_server_is_respected_even_if_the_workspace_has_one(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    record_server(workspace)
    monkeypatch.setenv(API_URL, THEIRS)
    apply_environment(workspace)
    assert os.environ[API_URL] == THEIRS


def test_the_workspaces_own_server_is_found(workspace: Workspace) -> None:
    record_server(workspace)
    apply_environment(workspace)
    assert os.environ[API_URL] == "http://127.0.0.1:4321/api"


def test_a_server_whose_pid_now_belongs_to_another_process_is_not_used(workspace: Workspace) -> None:
    record_server(workspace, created_at=psutil.Process().create_time() - 60)
    apply_environment(workspace)
    assert API_URL not in os.environ


def test_an_address_that_is_given_wins(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_URL, THEIRS)
    apply_environment(workspace, api_url="http://given/api")
    assert os.environ[API_URL] == "http://given/api"


def test_a_server_of_one_workspace_is_never_taken_for_anothers(workspace: Workspace, tmp_path: Path) -> None:
    record_server(workspace)
    apply_environment(workspace)
    apply_environment(make_workspace(tmp_path / "other"))
    assert API_URL not in os.environ


def test_inside_a_flow_run_the_workers_server_stays(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    apply_environment(workspace, api_url=THEIRS)
    monkeypatch.setenv("PREFECT__FLOW_RUN_ID", "x")
    apply_environment(workspace)
    assert os.environ[API_URL] == THEIRS


def test_a_childs_environment_names_no_server(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(API_URL, THEIRS)
    child = environment_without_server(workspace)
    assert API_URL not in child
    assert child["PATH"] == os.environ["PATH"]
    assert child.items() >= telemetry_free_environment(workspace).items()


FILES = {
    "prefect.toml": ('[api]\nurl = "http://elsewhere/api"\n', "PREFECT_API_URL"),
    "pyproject.toml": (
        '[tool.prefect.server.database]\nconnection_url = "sqlite+aiosqlite:////tmp/other.db"\n',
        "PREFECT_SERVER_DATABASE_CONNECTION_URL",
    ),
    ".env": ("PREFECT_API_URL=http://elsewhere/api\n", "PREFECT_API_URL"),
}


@pytest.mark.parametrize("file", FILES)
def test_settings_in_a_folder_that_is_not_the_workspace_are_refused(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, file: str
) -> None:
    content, name = FILES[file]
    (tmp_path / file).write_text(content)
    monkeypatch.chdir(tmp_path)
    message = rf"current folder.*{name} in {file}.*Next: run the command in the workspace, or export"
    with pytest.raises(ConfigurationError, match=message) as caught:
        apply_environment(workspace)
    assert caught.value.exit_code == 2
    monkeypatch.setenv(name, "said/by/the/user")
    apply_environment(workspace)
    assert os.environ[name] == "said/by/the/user"


@pytest.mark.slow
def test_prefect_really_reads_those_files(workspace: Workspace, tmp_path: Path) -> None:
    (tmp_path / "prefect.toml").write_text('[api]\nurl = "http://elsewhere/api"\n')
    code = "from prefect.settings import PREFECT_API_URL; print(json.dumps({'url': PREFECT_API_URL.value()}))"
    os.environ.update(telemetry_free_environment(workspace))
    assert in_fresh_process(code, workspace, tmp_path) == {"url": "http://elsewhere/api"}


def test_settings_that_send_nothing_anywhere_are_no_reason_to_refuse(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "prefect.toml").write_text('[logging]\nlevel = "DEBUG"\n')
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    (tmp_path / ".env").write_text("OTHER=1\n")
    monkeypatch.chdir(tmp_path)
    apply_environment(workspace)


def test_settings_in_the_workspace_are_the_users_word(workspace: Workspace, monkeypatch: pytest.MonkeyPatch) -> None:
    (workspace.root / "prefect.toml").write_text('[api]\nurl = "http://elsewhere/api"\n')
    monkeypatch.chdir(workspace.root)
    record_server(workspace)
    apply_environment(workspace)
    assert API_URL not in os.environ, "the environment would win over the user's file"


def test_a_broken_file_is_named(workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "prefect.toml").write_text("[api\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError, match=r"prefect\.toml in the current folder, which cannot be read.*correct the file"):
        apply_environment(workspace)


@pytest.mark.slow
def test_prefect_reads_it_and_follows_when_it_is_loaded_already(workspace: Workspace, tmp_path: Path) -> None:
    other = make_workspace(tmp_path / "other")
    code = f"""
from flows.environment import apply_environment
before = [name for name in ("prefect", "evidently", "great_expectations", "bentoml", "dvc", "torch") if name in sys.modules]
def seen():
    from prefect.settings import get_current_settings
    settings = get_current_settings()
    return [str(settings.home), settings.api.url, settings.server.analytics_enabled, settings.server.ephemeral.enabled,
            settings.server.ephemeral.startup_timeout_seconds, settings.server.database.connection_url.get_secret_value()]
apply_environment(workspace)
first = seen()
apply_environment(Workspace(Path({str(other.root)!r})), api_url="http://127.0.0.1:1/api")
print(json.dumps(dict(before=before, first=first, second=seen())))
"""
    answer = in_fresh_process(code, workspace, tmp_path)
    home, second_home = str(workspace.prefect_home), str(other.prefect_home)
    assert answer["before"] == []
    assert answer["first"] == [home, None, False, True, 120, f"sqlite+aiosqlite:///{home}/prefect.db"]
    assert answer["second"] == [second_home, "http://127.0.0.1:1/api", False, True, 120, f"sqlite+aiosqlite:///{second_home}/prefect.db"]


@pytest.mark.slow
def test_every_package_takes_telemetry_for_off(workspace: Workspace, tmp_path: Path) -> None:
    code = """
import os
if TOLD: exec("from flows.environment import apply_environment; apply_environment(workspace)")
from huggingface_hub.constants import HF_HUB_DISABLE_TELEMETRY
from bentoml._internal.utils.analytics.usage_stats import do_not_track
from dvc.analytics import is_enabled
from evidently.legacy._config import TELEMETRY_ENABLED
from evidently.telemetry import event_logger
from prefect._internal.analytics.enabled import is_telemetry_enabled
from prefect.settings import get_current_settings
settings = get_current_settings()
print(json.dumps({
    "hugging face": not HF_HUB_DISABLE_TELEMETRY, "bentoml": not do_not_track(), "dvc": is_enabled(), "evidently": TELEMETRY_ENABLED,
    "evidently events": event_logger.enabled(),
    "prefect client": is_telemetry_enabled(), "prefect server": settings.server.analytics_enabled,
    "prefect runs": settings.telemetry.enable_resource_metrics,
}))
"""
    for name in {"CI", *telemetry_free_environment(workspace)}:
        os.environ.pop(name, None)
    os.environ["PREFECT_HOME"] = str(workspace.prefect_home)
    untold = in_fresh_process(f"TOLD = False{code}", workspace, tmp_path)  # no settings of a repository
    assert {name for name, on in untold.items() if not on} <= {"prefect client"}, "this test would not see telemetry that is on"
    told = in_fresh_process(f"TOLD = True{code}", workspace, tmp_path)
    assert {name for name, on in told.items() if on} == set()
