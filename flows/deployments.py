"""Registers a workspace's flows on the Prefect server in use: deployments, schedules, automations, and the limit of the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import JsonValue

from flows.automations import dead_runs_automation, drift_automation, put_automation
from flows.device_lock import device_names
from flows.device_slots import limit_name
from flows.environment import telemetry_free_environment
from flows.heartbeat import FREQUENT_HEARTBEAT
from flows.notifications import notification_block_id, put_notifications
from flows.worker import ensure_work_pool, pool_name
from pipelines.config import ProjectConfig
from pipelines.core.errors import ConfigurationError
from pipelines.workspace import Workspace

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import ConcurrencyLimitConfig

_TIME_ZONE = "UTC"


@dataclass(frozen=True)
class FlowSources:
    """Where the flows' code lies.

    Attributes:
        root: Folder that a run's process works in.
        retrain: `file:function` relative to `root`; takes `workspace` and `trigger`.
        monitor: The same; takes `workspace`.
        batch: The same; takes `workspace`, `inputs` and `out`.
        reconcile: The same; takes `workspace`.
    """

    root: Path
    retrain: str = "flows/retrain.py:retrain_flow"
    monitor: str = "flows/monitor.py:monitor_flow"
    batch: str = "flows/batch.py:batch_flow"
    reconcile: str = "flows/reconciling.py:reconcile_flow"

    @classmethod
    def installed(cls) -> FlowSources:
        """The flows of the checkout that this code runs from."""
        return cls(root=Path(__file__).resolve().parent.parent)


@dataclass(frozen=True)
class Schedules:
    """Cron expressions, in UTC; None: no schedule.

    Attributes:
        retrain: For example `0 3 * * 0`: Sundays at three.
        monitor: For example `*/15 * * * *`: every quarter of an hour.
        reconcile: For example `*/10 * * * *`. Without it an event that the server loses is lost.
    """

    retrain: str | None = None
    monitor: str | None = None
    reconcile: str | None = None


NO_SCHEDULES = Schedules()


@dataclass(frozen=True)
class Deployments:
    """What `deploy` registered. All ids stay when it is called again.

    Attributes:
        pool: The work pool that a worker must serve.
        retrain: `flow name/deployment name`, as `prefect deployment run` takes it.
        monitor, batch, reconcile: The same.
        notification_ids: Of the automations that send messages; none where the conf file names no block.
    """

    pool: str
    retrain: str
    retrain_id: UUID
    monitor: str
    monitor_id: UUID
    batch: str
    batch_id: UUID
    reconcile: str
    reconcile_id: UUID
    drift_automation_id: UUID
    dead_runs_automation_id: UUID
    notification_ids: tuple[UUID, ...] = ()

    @property
    def names(self) -> tuple[str, ...]:
        """Of all deployments."""
        return (self.retrain, self.monitor, self.batch, self.reconcile)


def deploy(
    workspace: Workspace,
    config: ProjectConfig,
    *,
    schedules: Schedules = NO_SCHEDULES,
    sources: FlowSources | None = None,
    flow_parameters: Mapping[str, JsonValue] | None = None,
) -> Deployments:
    """Makes or updates the project's deployments and automations; calling it again changes only what is different.

    `apply_environment` must have been called. A schedule that is left out is removed.

    Args:
        workspace: Its path is a parameter of every flow.
        config: Names the project, the cool-down, the device and the notification block.
        schedules: When to run without being asked.
        sources: Other flows than the installed ones.
        flow_parameters: Further parameters of every flow, for example the conf file.

    Raises:
        ConfigurationError: A cron expression is wrong, the flows are missing, another workspace has a project of this name there, or the
            server does not have the notification block.
    """
    from prefect.client.orchestration import get_client

    _check_cron_expressions(schedules)
    pool, project = pool_name(config.project), config.project
    with get_client(sync_client=True) as client:
        if config.operation.notify_block is not None:  # before anything is registered
            notification_block_id(client, config.operation.notify_block)
    ensure_work_pool(pool)
    common = {**(flow_parameters or {}), "workspace": str(workspace.root)}
    registration = _Registration(workspace, project, pool, sources or FlowSources.installed())
    retrain, monitor, batch, reconcile = registration.all_flows(common, schedules)
    ids = tuple(deployment_id for _, deployment_id in (retrain, monitor, batch, reconcile))
    with get_client(sync_client=True) as client:
        drift_id = put_automation(client, drift_automation(project, retrain[1], config.trigger.cooldown_minutes))
        dead_id = put_automation(client, dead_runs_automation(project, ids))
        told = put_notifications(client, project, config.operation.notify_block, ids)
        for device in device_names(config.device):
            client.upsert_global_concurrency_limit_by_name(limit_name(device), 1)
    return Deployments(pool, *retrain, *monitor, *batch, *reconcile, drift_id, dead_id, told)


@dataclass(frozen=True)
class _Registration:
    workspace: Workspace
    project: str
    pool: str
    sources: FlowSources

    def all_flows(self, common: Mapping[str, JsonValue], schedules: Schedules) -> list[tuple[str, UUID]]:
        """Name and id of retrain, monitor, batch and reconcile, in this order."""
        sources, by_schedule = self.sources, {"trigger": {"kind": "schedule"}}
        return [
            # A run while another trains is cancelled at once, not queued: what it would learn from is in the next one as well.
            self._register(sources.retrain, {**common, "trigger": {"kind": "person"}}, schedules.retrain, by_schedule, one_at_a_time()),
            self._register(sources.monitor, common, schedules.monitor, {}, one_at_a_time()),
            # Two batches have different inputs: the second waits for its turn.
            self._register(sources.batch, common, None, {}, one_after_another()),
            self._register(sources.reconcile, common, schedules.reconcile, {}, one_at_a_time()),
        ]

    def _register(
        self,
        entrypoint: str,
        parameters: Mapping[str, JsonValue],
        cron: str | None,
        scheduled_parameters: dict[str, Any],
        concurrency: ConcurrencyLimitConfig,
    ) -> tuple[str, UUID]:
        from prefect.client.orchestration import get_client
        from prefect.schedules import Cron

        flow = _load_flow(self.sources.root, entrypoint)
        deployment = flow.to_deployment(
            name=self.project,
            work_pool_name=self.pool,
            parameters=dict(parameters),
            schedules=[Cron(cron, timezone=_TIME_ZONE, parameters=scheduled_parameters)] if cron else None,
            concurrency_limit=concurrency,
            # By its heartbeat the automation for dead runs sees that a run is alive, whoever started its worker.
            job_variables={"env": {**telemetry_free_environment(self.workspace), **FREQUENT_HEARTBEAT}},
            tags=["regraft", self.project],
        )
        with get_client(sync_client=True) as client:
            _clear(client, deployment.full_name, self.workspace, keep_schedules=cron is not None)
        return deployment.full_name, deployment.apply()


def one_at_a_time() -> ConcurrencyLimitConfig:
    """A deployment's runs exclude each other: a second one is cancelled, with a message that says so."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy

    return ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.CANCEL_NEW)


def one_after_another() -> ConcurrencyLimitConfig:
    """A deployment's runs wait for each other."""
    from prefect.client.schemas.objects import ConcurrencyLimitConfig, ConcurrencyLimitStrategy

    return ConcurrencyLimitConfig(limit=1, collision_strategy=ConcurrencyLimitStrategy.ENQUEUE)


def _load_flow(root: Path, entrypoint: str) -> Any:
    from prefect import flow

    if not (root / entrypoint.partition(":")[0]).is_file():
        raise ConfigurationError(
            got=f"the flow {entrypoint}, which is not in {root}.",
            allowed="a checkout of Regraft with its flows.",
            next_step="install Regraft from its checkout with `pip install -e .`, then run `regraft deploy` again.",
        )
    return flow.from_source(source=str(root), entrypoint=entrypoint)


def _clear(client: SyncPrefectClient, full_name: str, workspace: Workspace, *, keep_schedules: bool) -> None:
    # Prefect's own update leaves schedules in place that are no longer asked for.
    from prefect.exceptions import ObjectNotFound

    try:
        present = client.read_deployment_by_name(full_name)
    except ObjectNotFound:
        return
    _refuse_another_workspace(full_name, str(present.parameters.get("workspace", "")), workspace)
    for schedule in () if keep_schedules else present.schedules:
        client.delete_deployment_schedule(present.id, schedule.id)


def _refuse_another_workspace(full_name: str, owner: str, workspace: Workspace) -> None:
    if owner and owner != str(workspace.root) and Path(owner).is_dir():
        raise ConfigurationError(
            got=f"the deployment {full_name} on this Prefect server, which belongs to the workspace {owner}.",
            allowed="one workspace per project name on one server.",
            next_step="give the project another name in its conf file, or use another server.",
        )


def _check_cron_expressions(schedules: Schedules) -> None:
    from prefect.client.schemas.schedules import CronSchedule

    for name, expression in vars(schedules).items():
        try:
            _ = expression is None or CronSchedule(cron=expression, timezone=_TIME_ZONE)
        except ValueError as error:
            raise ConfigurationError(
                got=f"the {name} schedule {expression!r}, which is no cron expression.",
                allowed="five fields, in UTC, for example `0 3 * * 0`: Sundays at three.",
                next_step="correct the expression.",
            ) from error
