"""From the demo's records to its summary."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from flows.demo.scenario import Scenario
from flows.demo.summary import BeforeAfter, Champions, DomainAccuracy, Requests, Summary, package_versions
from flows.demo.traffic import Answered, Counts
from flows.monitor import MonitorResult
from flows.pages import write_page
from flows.records import Accuracy, RunRecord
from flows.session import Session
from pipelines.intervals import clopper_pearson


def make_summary(
    session: Session,
    scenario: Scenario,
    first: RunRecord,
    second: RunRecord,
    results: Sequence[MonitorResult],
    counts: Counts,
    started_by: str,
    served: Mapping[str, Sequence[Answered]],
    seconds: Mapping[str, float],
) -> Summary:
    """Puts the numbers together; before and after are both judged on the second run's test samples."""
    return Summary(
        data=scenario.data,
        shift=scenario.shift,
        domains=(scenario.old_domain, scenario.new_domain),
        accuracy=BeforeAfter(before=_both(second.champion_accuracy_by_domain, scenario), after=_both(second.accuracy_by_domain, scenario)),
        served_accuracy={name: _served(answers) for name, answers in served.items() if answers},
        verdicts=[result.verdict.verdict for result in results],
        requests=Requests(**counts.as_json()),
        champion=Champions(before=str(first.version), after=str(second.version)),
        retraining_started_by=started_by,
        n_labelled=scenario.n_labelled,
        stages_seconds=dict(seconds),
        versions=package_versions(),
        reports=_reports(session, first, second, results),
    )


def _both(accuracies: Mapping[str, Accuracy], scenario: Scenario) -> DomainAccuracy:
    return DomainAccuracy(old_domain=accuracies[scenario.old_domain], new_domain=accuracies[scenario.new_domain])


def _served(answers: Sequence[Answered]) -> Accuracy:
    interval = clopper_pearson(sum(answer.correct for answer in answers), len(answers))
    return Accuracy(value=interval.value, low=interval.low, high=interval.high, n=interval.n)


def _reports(session: Session, first: RunRecord, second: RunRecord, results: Sequence[MonitorResult]) -> dict[str, str]:
    names = ("run", "data_docs", "model_card")
    reports = {f"{name} of {run.version}": run.reports[name] for run in (first, second) for name in names if name in run.reports}
    reports |= {f"drift report: {result.verdict.verdict}": str(result.report) for result in results}
    return reports | {"lineage": str(_lineage_page(session))}


def _lineage_page(session: Session) -> Path:
    from pipelines.versioning.registry import show, versions

    root, project = session.workspace.root, session.config.project
    models = [show(root, project, version.name) for version in reversed(versions(root, project))]
    page = session.workspace.reports / "lineage.html"
    write_page("lineage.html.j2", page, title=f"{project}: lineage", project=project, models=models)
    return page
