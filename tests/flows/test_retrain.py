"""What a run may be started with: whoever calls the deployment writes the trigger by hand."""

from __future__ import annotations

from typing import Any

import pytest

from flows.retrain import retrain_flow
from pipelines.core.errors import ConfigurationError, DataError
from pipelines.workspace import Workspace
from tests.flows.conftest import project_config
from tests.monitoring.verdicts import verdict

KINDS = r"`kind`, one of person, schedule, drift, labels, adapt.*\{\"kind\": \"person\"\}"
WRONG: list[tuple[dict[str, Any], type[Exception], str]] = [
    ({}, ConfigurationError, f"a trigger without a kind.*{KINDS}"),
    ({"evidence": {}}, ConfigurationError, f"a trigger without a kind.*{KINDS}"),
    ({"kind": "monitor"}, ConfigurationError, f"a trigger of kind 'monitor'.*{KINDS}"),
    ({"kind": None}, ConfigurationError, f"a trigger of kind None.*{KINDS}"),
    ({"kind": ["drift"]}, ConfigurationError, rf"a trigger of kind \['drift'\].*{KINDS}"),
    ({"kind": "drift", "evidence": "moved"}, ConfigurationError, r"whose evidence is 'moved'.*correct `trigger\.evidence`"),
    ({"kind": "drift", "evidence": {"verdict": "drift"}}, DataError, "a verdict that cannot be read: the file: .*regraft monitor"),
    ({"kind": "labels", "evidence": {"verdict": {"verdict": "ok"}}}, DataError, "a verdict that cannot be read: reason: Field required"),
]


@pytest.mark.parametrize(("trigger", "error", "match"), WRONG)
def test_what_is_no_trigger_is_named_before_anything_is_read(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch, trigger: dict[str, Any], error: type[Exception], match: str
) -> None:
    from flows.session import Session

    monkeypatch.setattr("flows.retrain.open_session", lambda *_: Session(workspace, project_config("toy")))
    with pytest.raises(error, match=rf"(?s){match}"):
        retrain_flow.fn(str(workspace.root), trigger)
    assert not workspace.state.exists()


@pytest.mark.parametrize("kind", ["person", "schedule", "drift", "labels", "adapt"])
def test_what_is_one_goes_on(workspace: Workspace, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    from flows.session import Session

    class ReachedError(Exception):
        """The step after the look at the trigger."""

    def stop(_: object) -> None:
        raise ReachedError

    monkeypatch.setattr("flows.retrain.open_session", lambda *_: Session(workspace, project_config("toy")))
    monkeypatch.setattr("flows.retrain.require_reachable_server", stop)
    evidence = {"verdict": verdict("drift", "costs").model_dump(mode="json"), "report": "/w/one/drift.html"}
    with pytest.raises(ReachedError):
        retrain_flow.fn(str(workspace.root), {"kind": kind, "evidence": evidence})
