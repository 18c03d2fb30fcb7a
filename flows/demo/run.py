"""The demo from beginning to end."""

from __future__ import annotations

import time
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from flows.demo.place import prepare
from flows.demo.steps import Steps
from flows.environment import apply_environment
from flows.session import Session, open_session
from pipelines.core.errors import RegraftError

if TYPE_CHECKING:
    from flows.demo.scenario import Item, Scenario
    from flows.demo.summary import Summary
    from flows.demo.traffic import Answered, Counts
    from flows.deployments import Deployments
    from flows.endpoint import ServedChampion
    from flows.monitor import MonitorResult
    from flows.records import RunRecord
    from pipelines.progress import Progress

_RETRAINING_DEADLINE_SECONDS = 900
_SWAP_DEADLINE_SECONDS = 60
_TRAFFIC_AFTER_SWAP_SECONDS = 3


def run_demo(folder: Path, scenario: Scenario, *, keep_serving: bool) -> None:
    """Runs the loop in `folder` and ends in `summary.json`, a table and a page.

    Raises:
        RegraftError: A step did not end as it should: the demo is a check, too.
    """
    from flows.endpoint import free_port

    steps = Steps()
    with steps.step("workspace", f"A workspace: git, DVC with a local remote, {scenario.data}"):
        workspace = prepare(folder, free_port(), scenario)
        session = open_session(workspace.root)
        steps.tell(f"{workspace.root}")
    with ExitStack() as servers:
        demo = _Demo(session, scenario, steps, servers)
        summary, page = demo.run(folder.resolve())
        from flows.demo.summary import print_summary

        print_summary(steps.console, summary, page)
        if keep_serving:
            demo.keep_serving()


@dataclass
class _Demo:
    session: Session
    scenario: Scenario
    steps: Steps
    servers: ExitStack
    prefect_ui: str = ""
    deployments: Deployments | None = None
    endpoint: ServedChampion | None = None
    served: dict[str, list[Answered]] = field(default_factory=dict)

    def run(self, folder: Path) -> tuple[Summary, Path]:
        from flows.demo.summary import write_summary
        from flows.demo.traffic import Counts

        counts = Counts()
        self._start_prefect()
        first = self._first_training()
        self._serve()
        held_out, n_old = self.scenario.held_out(self.session.workspace.data), self.scenario.n_old_traffic
        old, shifted = list(held_out[:n_old]), list(self.scenario.shifted(held_out[n_old:]))
        calm = self._old_traffic(old, counts)
        alarm, since = self._shifted_traffic(shifted, counts)
        second, started_by = self._retraining(old, shifted, counts, since)
        summary = self._summary(first, second, [calm, alarm], counts, started_by)
        return summary, write_summary(summary, folder)

    def keep_serving(self) -> None:
        if self.endpoint is None:
            return
        self.steps.tell(f"endpoint   {self.endpoint.url}  (POST /predict, POST /feedback, GET /model)")
        self.steps.tell(f"Prefect UI {self.prefect_ui}")
        self.steps.tell("Ctrl-C stops both")
        self.endpoint.wait()

    def _start_prefect(self) -> None:
        from flows.server import prefect_server

        with self.steps.step(
            "prefect", "A Prefect server of the workspace's own, its deployments, and the automation drift -> retraining"
        ) as progress:
            server = self.servers.enter_context(prefect_server(self.session.workspace, progress=progress))
            apply_environment(self.session.workspace, api_url=server.url)
            from flows.deployments import deploy
            from flows.worker import prefect_worker

            self.prefect_ui = server.ui_url
            self.deployments = deploy(self.session.workspace, self.session.config)
            self.servers.enter_context(prefect_worker(self.session.workspace, self.deployments.pool, progress=progress))
            self.steps.tell(f"Prefect UI {server.ui_url}, worker on pool {self.deployments.pool}")

    def _first_training(self) -> RunRecord:
        with self.steps.step("retrain", "The flow `retrain`: validate, train, judge, package, serve once, promote") as progress:
            from flows.retrain import run_retrain

            record = run_retrain(self.session.workspace.root, None, (), "person", progress)
            self._tell_run(record)
            return _promoted(record)

    def _serve(self) -> None:
        from flows.endpoint import serving

        with self.steps.step("serve", "The promoted Bento, served over HTTP"):
            self.endpoint = self.servers.enter_context(serving(self.session))
            self.steps.tell(f"{self.endpoint.url}, bundle {self.endpoint.bundle}")

    def _old_traffic(self, items: list[Item], counts: Counts) -> MonitorResult:
        with self.steps.step("old_domain", "Traffic from held-out samples; the monitor looks at it") as progress:
            self.served["old domain, before"] = self._send(items, counts, progress)
            return self._monitor("ok", progress)

    def _shifted_traffic(self, items: list[Item], counts: Counts) -> tuple[MonitorResult, datetime]:
        from flows.demo.traffic import label_through_feedback
        from serving.client import EndpointClient

        with self.steps.step("new_domain", f"{self.scenario.shift}; part of it is labelled") as progress:
            answered = self.served["new domain, before"] = self._send(items, counts, progress)
            with EndpointClient(self._url) as client:
                n_accepted = label_through_feedback(client, answered[: self.scenario.n_labelled])
            self.steps.tell(f"{n_accepted} labels sent through POST /feedback")
            since = datetime.now(UTC)
            return self._monitor("drift", progress), since

    def _retraining(self, old: list[Item], shifted: list[Item], counts: Counts, since: datetime) -> tuple[RunRecord, str]:
        from flows.demo.traffic import steady_traffic

        with self.steps.step("retrain_on_drift", "The event starts a retraining, under traffic; the endpoint swaps the model") as progress:
            with steady_traffic(self._url, [*old, *shifted], self.scenario.task, counts):
                record, started_by = self._wait_for_retraining(since, progress)
                self._wait_for_swap(str(record.bundle))
            self.served["old domain, after"] = self._send(old, counts, progress)
            # Only those that were not labelled: the others may have been trained on.
            self.served["new domain, after"] = self._send(shifted[self.scenario.n_labelled :], counts, progress)
            self.steps.tell(f"{counts.sent} requests sent so far, {counts.failed} failed, {counts.lost} lost")
            return record, started_by

    def _wait_for_retraining(self, since: datetime, progress: Progress) -> tuple[RunRecord, str]:
        from flows.events import latest_drift_event
        from flows.records import read_records
        from flows.runs import reconcile_drift, wait_until_finished

        event = latest_drift_event(self.session.config.project, since)
        if event is None or self.deployments is None:
            raise RegraftError("no drift event on the Prefect server.", "the event of the monitor.", "read prefect-server.log.")
        found = reconcile_drift(
            self.deployments.retrain_id, event, cooldown_minutes=0, wait_seconds=60, tell=self.steps.tell, progress=progress
        )
        self.steps.tell(f"run {found.run.name}: {self.prefect_ui}/runs/flow-run/{found.run.id}")
        ended = wait_until_finished(found.run.id, _RETRAINING_DEADLINE_SECONDS, progress)
        record = next((record for record in read_records(self.session.workspace) if record.run == str(found.run.id)), None)
        if record is None:
            raise RegraftError(
                got=f"the run {ended.name}, which ended {ended.state} without a record: {ended.message}.",
                allowed="a run that ends in a decision.",
                next_step=f"look at its logs: {self.session.workspace.logs / 'prefect-worker.log'}.",
            )
        self._tell_run(record)
        return _promoted(record), found.how

    def _wait_for_swap(self, bundle: str) -> None:
        from serving.client import EndpointClient

        deadline = time.monotonic() + _SWAP_DEADLINE_SECONDS
        with EndpointClient(self._url) as client:
            while client.model().bundle != bundle:
                if time.monotonic() > deadline:
                    raise RegraftError(
                        got=f"an endpoint that serves {client.model().bundle}, {_SWAP_DEADLINE_SECONDS} s after {bundle} was promoted.",
                        allowed="a swap within seconds.",
                        next_step=f"read {self.session.workspace.logs / 'endpoint.log'}.",
                    )
                time.sleep(0.2)
        self.steps.tell(f"the endpoint serves {bundle}")
        time.sleep(_TRAFFIC_AFTER_SWAP_SECONDS)

    def _send(self, items: list[Item], counts: Counts, progress: Progress) -> list[Answered]:
        from flows.demo.traffic import send_all
        from serving.client import EndpointClient

        with EndpointClient(self._url) as client:
            answered = send_all(client, items, self.scenario.task, counts, progress, "requests")
        self.steps.tell(f"{len(answered)} answered, {sum(item.correct for item in answered)} rightly")
        return answered

    def _monitor(self, expected: str, progress: Progress) -> MonitorResult:
        from flows.monitor import run_monitor

        result = run_monitor(self.session.workspace.root, None, progress)
        self.steps.tell(f"verdict {result.verdict.verdict}: {result.verdict.reason}")
        if result.verdict.verdict != expected:
            raise RegraftError(
                got=f"the verdict {result.verdict.verdict} on this traffic.",
                allowed=f"{expected}, which is what the traffic was made to show.",
                next_step=f"look at {result.report}, and report it: the demo is seeded, so it will happen again.",
            )
        return result

    def _tell_run(self, record: RunRecord) -> None:
        self.steps.tell(f"{record.outcome} {record.version or ''}: {record.reason}")

    @property
    def _url(self) -> str:
        if self.endpoint is None:
            raise RegraftError("no endpoint.", "a running endpoint.", "this is a bug in Regraft: report it.")
        return self.endpoint.url

    def _summary(self, first: RunRecord, second: RunRecord, results: list[MonitorResult], counts: Counts, started_by: str) -> Summary:
        from flows.demo.reporting import make_summary

        facts = (counts, started_by, self.served, self.steps.seconds)
        return make_summary(self.session, self.scenario, first, second, results, *facts)


def _promoted(record: RunRecord) -> RunRecord:
    if record.outcome != "promoted":
        raise RegraftError(
            got=f"a retraining that ended {record.outcome}: {record.reason}",
            allowed="a promotion: the demo is made so that its gates pass.",
            next_step=f"look at {record.reports.get('run', 'the run page')}, and report it.",
        )
    return record
