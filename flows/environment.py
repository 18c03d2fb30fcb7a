"""Everything that the environment must say before Prefect, Evidently, Great Expectations, BentoML, DVC or Hugging Face is imported.

All of them read it once, at import. Prefect's home, and with it its database, lies in the workspace: two workspaces never meet.
"""

from __future__ import annotations

import os
import sys

from flows.server_record import recorded_server
from flows.settings_files import destination_settings, refuse_settings_of_another_folder
from pipelines.workspace import Workspace

API_URL = "PREFECT_API_URL"
# How much of a run's log the terminal shows; the command line lowers it for itself, not for servers and workers with log files.
CONSOLE_LOG_LEVEL = "PREFECT_LOGGING_HANDLERS_CONSOLE_LEVEL"
# What Regraft itself put into PREFECT_API_URL: a value that differs from it is the user's and is left alone.
OWN_API_URL = "REGRAFT_PREFECT_API_URL"

_TELEMETRY_OFF = {
    "DO_NOT_TRACK": "1",  # Prefect's client, Evidently, Hugging Face
    "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    "PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY": "false",
    "PREFECT_TELEMETRY_ENABLE_RESOURCE_METRICS": "false",
    "GX_ANALYTICS_ENABLED": "false",
    "BENTOML_DO_NOT_TRACK": "true",
    "DVC_NO_ANALYTICS": "1",
    "ITERATIVE_DO_NOT_TRACK": "1",
    "EVIDENTLY_DISABLE_TELEMETRY": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
_PREFECT_BEHAVIOUR = {
    "PREFECT_PROFILE": "ephemeral",  # a profile that the user's shell names is not in the workspace's own profiles file
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "120",  # the default of 20 s fails on a busy machine
    "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
    "PREFECT_CLI_PROMPT": "false",
    "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
}
_PREFECT_DEFAULTS = {"PREFECT_LOGGING_EXTRA_LOGGERS": "flows,pipelines,monitoring,serving"}


def telemetry_free_environment(workspace: Workspace) -> dict[str, str]:
    """The variables that Regraft sets for a subprocess or a Prefect job, without those that it passes on.

    Args:
        workspace: Its folders become the homes of Prefect and BentoML.
    """
    homes = {
        "PREFECT_HOME": str(workspace.prefect_home),
        "PREFECT_PROFILES_PATH": str(workspace.prefect_home / "profiles.toml"),
        "BENTOML_HOME": str(workspace.bentoml_home),
    }
    defaults = {name: os.environ.get(name, value) for name, value in _PREFECT_DEFAULTS.items()}
    return {**_TELEMETRY_OFF, **_PREFECT_BEHAVIOUR, **defaults, **homes}


def apply_environment(workspace: Workspace, *, api_url: str | None = None) -> None:
    """Sets `os.environ` for this process; to be called before the first of those packages is imported.

    The server is, in this order: `api_url`; a PREFECT_API_URL that the user has set; the server that this workspace has started;
    none, and Prefect starts a temporary one of its own. Calling it again is safe: a Prefect that is loaded already follows.

    Args:
        workspace: Where Prefect keeps its database and results.
        api_url: Of the server to use, ending in `/api`.

    Raises:
        ConfigurationError: Files of the current folder would send Prefect to another server or database.
    """
    refuse_settings_of_another_folder(workspace.root)
    before = {name: os.environ.get(name) for name in ("PREFECT_HOME", API_URL)}
    workspace.prefect_home.mkdir(parents=True, exist_ok=True)
    os.environ.update(telemetry_free_environment(workspace))
    _set_api_url(workspace, api_url)
    if before != {name: os.environ.get(name) for name in before}:
        _refresh_loaded_prefect()


def environment_without_server(workspace: Workspace) -> dict[str, str]:
    """The whole environment for a child that is told its server by other means."""
    inherited = {name: value for name, value in os.environ.items() if name not in (API_URL, OWN_API_URL, CONSOLE_LOG_LEVEL)}
    return {**inherited, **telemetry_free_environment(workspace)}


def users_api_url() -> str | None:
    """The PREFECT_API_URL that the user has set, if it is not one that Regraft set itself."""
    url = os.environ.get(API_URL)
    return url if url and url != os.environ.get(OWN_API_URL) else None


def _set_api_url(workspace: Workspace, given: str | None) -> None:
    # Inside a flow run the worker names the server, and files of the workspace count as the user's word.
    if given is None and (users_api_url() or "PREFECT__FLOW_RUN_ID" in os.environ):
        return
    server = recorded_server(workspace)
    url = given or (server.api_url if server and API_URL not in destination_settings(workspace.root) else None)
    for name in (API_URL, OWN_API_URL):
        if url:
            os.environ[name] = url
        else:
            os.environ.pop(name, None)


def _refresh_loaded_prefect() -> None:
    # Prefect keeps what it read at import: settings, the queue of events, and a temporary server of the former home.
    if "prefect.context" not in sys.modules:
        return
    from prefect.context import refresh_global_settings_context

    if "prefect.events.worker" in sys.modules:
        from prefect.events.worker import EventsWorker

        EventsWorker.drain_all(timeout=30, at_exit=False)
    if "prefect.server.api.server" in sys.modules:
        from prefect.server.api.server import SubprocessASGIServer

        SubprocessASGIServer().stop()
    refresh_global_settings_context()
