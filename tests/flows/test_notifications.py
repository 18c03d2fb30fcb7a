"""Messages by a notification block, received by a real HTTP server."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from flows.deployments import deploy
from flows.events import emit_model_promoted, emit_model_refused
from flows.notifications import model_notification_name, runs_notification_name
from pipelines.config import ProjectConfig
from pipelines.core.errors import ConfigurationError
from tests.flows.conftest import SMALL_FLOWS, Stack, project_config, until

pytestmark = pytest.mark.slow


class _Channel(BaseHTTPRequestHandler):
    messages: list[dict[str, Any]]

    def do_POST(self) -> None:
        self.messages.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        return


@pytest.fixture
def channel() -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """The address of a team's channel, and what it has received."""
    _Channel.messages = []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Channel)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", _Channel.messages
    server.shutdown()
    thread.join()
    server.server_close()


def with_block(config: ProjectConfig, block: str | None) -> ProjectConfig:
    return ProjectConfig.model_validate(config.model_dump() | {"operation": {"notify_block": block}})


def test_the_team_is_told_of_decisions_and_of_runs_that_crashed(stack: Stack, channel: tuple[str, list[dict[str, Any]]]) -> None:
    from prefect.blocks.notifications import CustomWebhookNotificationBlock
    from prefect.client.orchestration import get_client
    from prefect.states import Crashed, Running

    address, messages = channel
    block = CustomWebhookNotificationBlock(name="team", url=address, json_data={"subject": "{{subject}}", "text": "{{body}}"})
    block.save("team", overwrite=True, _sync=True)
    config = project_config("told")
    made = deploy(stack.workspace, with_block(config, "custom-webhook/team"), sources=SMALL_FLOWS)
    assert len(made.notification_ids) == 2
    assert deploy(stack.workspace, with_block(config, "custom-webhook/team"), sources=SMALL_FLOWS) == made
    until(lambda: False, 2)  # the server's triggers learn of the new automations through a message of their own

    emit_model_refused("told", {"reason": "accuracy is below the floor"})
    emit_model_promoted("another", {"reason": "not ours"})
    with get_client(sync_client=True) as client:
        run = client.create_flow_run_from_deployment(made.monitor_id, work_queue_name="nobody")
        client.set_flow_run_state(run.id, Running(), force=True)
        client.set_flow_run_state(run.id, Crashed(message="killed with -9"), force=True)
        assert until(lambda: len(messages) >= 2, 60), messages
        by_subject = {message["subject"]: message["text"] for message in messages}
        assert by_subject.keys() == {"regraft told: regraft.model.refused", "regraft told: Crashed"}
        assert by_subject["regraft told: regraft.model.refused"] == "accuracy is below the floor"
        assert f"Run {run.name} of monitor is Crashed: killed with -9" in by_subject["regraft told: Crashed"]
        assert str(run.id) in by_subject["regraft told: Crashed"], "without the address of its page"

        assert deploy(stack.workspace, config, sources=SMALL_FLOWS).notification_ids == ()
        names = (runs_notification_name("told"), model_notification_name("told"))
        assert not any(client.read_automations_by_name(name) for name in names), "a channel that was taken out is still told"


def test_a_block_that_is_not_there_is_said_before_anything_is_registered(stack: Stack) -> None:
    from prefect.client.orchestration import get_client
    from prefect.exceptions import ObjectNotFound

    message = r"operation\.notify_block: slack-webhook/nobody, which is not on this Prefect server.*TYPE/NAME.*regraft deploy"
    with pytest.raises(ConfigurationError, match=message):
        deploy(stack.workspace, with_block(project_config("untold"), "slack-webhook/nobody"), sources=SMALL_FLOWS)
    with get_client(sync_client=True) as client, pytest.raises(ObjectNotFound):
        client.read_deployment_by_name("retrain/untold")
