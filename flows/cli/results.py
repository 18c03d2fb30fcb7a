"""How results are printed: for people, or one JSON object for machines."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flows.cli.console import print_json
from flows.pages import percent
from flows.records import Accuracy, RunRecord

if TYPE_CHECKING:
    from flows.backbone_ranking import BackboneRanking
    from flows.evaluation import Evaluation
    from flows.monitor import MonitorResult
    from flows.production import Deployed
    from flows.status import Status
    from flows.trigger_orders import Orders
    from flows.trigger_rows import LatestRows
    from pipelines.versioning.registry import ChampionRecord


def print_run(record: RunRecord, *, as_json: bool) -> None:
    """A retraining: what was decided, why, and where to look."""
    if as_json:
        content = record.model_dump(mode="json")
        judged = {
            "outcome": record.outcome,
            "reason": record.reason,
            "promote": record.outcome == "promoted",
            "gates": content["decisions"],
            "forced": content["forced"],
        }
        names = ("bundle", "version", "accuracy", "accuracy_by_domain", "stages_seconds", "reports", "run", "dataset")
        print_json({"decision": judged, **{name: content[name] for name in names}})
        return
    from rich.table import Table

    console = _stdout()
    colour = {"promoted": "green", "refused": "red"}.get(record.outcome, "yellow")
    console.print(f"[bold {colour}]{record.outcome}[/] {record.version or ''}", highlight=False)
    console.print(record.reason, markup=False, highlight=False)
    if record.decisions:
        table = Table("gate", "decision", "n", "why")
        for decision in record.decisions:
            table.add_row(decision["condition"], decision["outcome"], str(decision["n"]), decision["reason"])
        console.print(table)
    if record.accuracy:
        console.print(f"test accuracy {percent(record.accuracy)}, n = {record.accuracy.n}, bundle {record.bundle}", highlight=False)
    for name, path in record.reports.items():
        console.print(f"{name}: {path}", markup=False, highlight=False, soft_wrap=True)


def print_evaluation(evaluation: Evaluation, *, as_json: bool) -> None:
    """A model's accuracy, overall and by domain."""
    if as_json:
        print_json({"version": evaluation.version, **evaluation.content})
        return
    from rich.table import Table

    table = Table("domain", "n", "accuracy, 95 % interval", title=f"{evaluation.version}, bundle {evaluation.content['bundle']}")
    rows = {"all": evaluation.content["accuracy"], **evaluation.content["accuracy_by_domain"]}
    for name, value in rows.items():
        accuracy = Accuracy.model_validate(value)
        table.add_row(name, str(accuracy.n), percent(accuracy))
    _stdout().print(table)


def print_ranking(ranking: BackboneRanking, *, as_json: bool) -> None:
    """Backbones by transferability, the probed ones with their accuracy, and which one would be chosen."""
    if as_json:
        print_json(ranking.as_json())
        return
    from rich.table import Table

    numbers = ("LogME", "H-score", "probe: accuracy, 95 % interval", "log loss", "features/s", "parameters")
    table = Table(
        "backbone", *numbers, title=f"{ranking.content['n_train']} training, {ranking.content['n_validation']} validation samples"
    )
    for row in ranking.content["candidates"]:
        accuracy = percent(Accuracy.model_validate(row["accuracy"])) if "accuracy" in row else "not probed"
        log_loss = f"{row['log_loss']:.4f}" if row.get("log_loss") is not None else ""
        scores = (f"{row['log_me']:.4f}", f"{row['h_score']:.3f}", accuracy, log_loss)
        table.add_row(row["backbone"], *scores, f"{row['features_per_second']:.0f}", f"{row['n_parameters'] / 1e6:.2f} M")
    _stdout().print(table)
    _stdout().print(ranking.content["reason"], markup=False, highlight=False, soft_wrap=True)
    for name, reason in ranking.left_out.items():
        _stdout().print(f"left out: {name}: {reason}", markup=False, highlight=False, soft_wrap=True)


def print_verdict(result: MonitorResult, *, as_json: bool) -> None:
    """A window's verdict."""
    if as_json:
        decision = result.decision.model_dump(mode="json")
        print_json({**result.verdict.model_dump(mode="json"), "decision": decision, "reports": {"drift": str(result.report)}})
        return
    colour = {"ok": "green", "insufficient_data": "yellow"}.get(result.verdict.verdict, "red")
    _stdout().print(f"[bold {colour}]{result.verdict.verdict}[/] ({result.verdict.n_requests} requests)", highlight=False)
    said = f"{result.verdict.reason}\n{result.decision.action.replace('_', ' ')}: {result.decision.reason}\nreport: {result.report}"
    _stdout().print(said, markup=False, highlight=False, soft_wrap=True)


def print_status(status: Status, *, as_json: bool) -> None:
    """A workspace at a glance."""
    content = status.as_json()
    if as_json:
        print_json(content)
        return
    champion, run, verdict = content["champion"], content["last_run"], content["last_verdict"]
    lines = [
        f"project       {status.project}",
        f"champion      {champion['version']} ({champion['bundle']}) since {champion['promoted_at']}"
        if champion
        else "champion      none yet",
        f"endpoint      {content['endpoint'] or 'not running; start it with `regraft serve`'}",
        f"Prefect UI    {content['prefect_ui'] or 'not running; `regraft deploy` starts it'}",
        f"last run      {run['outcome']} at {run['finished']}, started by {run['trigger']}: {run['reason']}"
        if run
        else "last run      none yet",
        f"last verdict  {verdict['verdict']}: {verdict['reason']}" if verdict else "last verdict  none yet",
        f"automation    {status.orders.in_words(datetime.now(UTC)) or 'on; `regraft trigger` snoozes or stops it'}",
    ]
    _stdout().print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)
    _print_decisions(status.trigger)


def _print_decisions(found: LatestRows) -> None:
    if found.rows:
        from rich.markup import escape
        from rich.table import Table

        table = Table(
            "when", "asked by", "verdict", "new labels", "action", "why", title="decisions about retraining", title_justify="left"
        )
        for row in reversed(found.rows):
            table.add_row(*("" if value is None else escape(str(value)) for value in row.as_shown().values()))
        _stdout().print(table)
    if found.n_damaged:
        _stdout().print(f"{found.n_damaged} damaged rows of the decisions were passed over", highlight=False)


def print_orders(orders: Orders, *, as_json: bool) -> None:
    """What a person said to the automation."""
    if as_json:
        print_json(orders.model_dump(mode="json"))
        return
    said = orders.in_words(datetime.now(UTC)) or "on: drift and schedules start retrainings again"
    _stdout().print(f"automation    {said}", markup=False, highlight=False, soft_wrap=True)


def print_champion(record: ChampionRecord, *, as_json: bool) -> None:
    """Who is champion now."""
    print_history([record], as_json=as_json)


def print_history(records: Sequence[ChampionRecord], *, as_json: bool) -> None:
    """Champions, in the order of the registry."""
    from pipelines.versioning.account import champion_row

    rows = [champion_row(record) for record in records]
    if as_json:
        print_json(rows)
        return
    from rich.table import Table

    table = Table("promoted at", "version", "bundle", "dataset", "by", "why")
    for row in rows:
        table.add_row(*(str(row[name]) for name in ("promoted_at", "version", "bundle", "dataset", "kind", "why")))
    _stdout().print(table)


def print_deployments(deployed: Deployed, *, as_json: bool) -> None:
    """Where the deployments are and what carries them out."""
    if as_json:
        print_json({"ui": deployed.ui, "deployments": list(deployed.deployments), "worker": deployed.worker})
        return
    lines = [
        f"Prefect UI   {deployed.ui}",
        *(f"deployment   {name}" for name in deployed.deployments),
        f"start a worker with:\n  {deployed.worker}",
    ]
    _stdout().print("\n".join(lines), markup=False, highlight=False, soft_wrap=True)


def _stdout() -> Any:
    from rich.console import Console

    return Console()
