"""Runs the checks, writes the report and the Data Docs, and refuses bad data afterwards, so that the report exists for it too."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pandas as pd

from pipelines.config import ProjectConfig
from pipelines.core.bundle import canonical_json
from pipelines.core.errors import DataError, Finding, RegraftError
from pipelines.label_rows import Problem
from pipelines.manifest import read_problems
from pipelines.validate.check import Check
from pipelines.validate.checks import PLACE_COLUMN, build_checks
from pipelines.validate.data_docs import render_data_docs
from pipelines.validate.report import DATA_DOCS, REPORT, CheckResult, Outcome, UnexpectedItem, ValidationReport, read_report
from pipelines.validate.tables import manifest_tables

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult, ExpectationValidationResult
    from great_expectations.data_context import EphemeralDataContext

ProblemsByPlace = Mapping[tuple[str, str], Problem]


def validate(manifest: Path, config: ProjectConfig, out: Path) -> None:
    """Checks the manifest and writes validation.json and data_docs/index.html, whatever the outcome.

    Args:
        manifest: Output of stage `manifest`.
        config: Its `project`, `labels`, `labels_per_sample` and `data` are used.
        out: Gets the two files; the page needs no network.
    """
    import great_expectations as gx

    tables = manifest_tables(manifest, config.labels, config.labels_per_sample, config.data.max_language_rise)
    checks = build_checks(config)
    results = _run(checks, tables)
    problems: ProblemsByPlace = {(problem.kind, problem.where): problem for problem in read_problems(manifest)}
    outcomes = [_check_result(check, result, problems) for check, result in _paired(checks, results)]
    n_per_class = dict(zip(tables["classes"]["label"], map(int, tables["classes"]["n_samples"]), strict=True))
    report = ValidationReport(
        project=config.project,
        success=not any(outcome.refuses or outcome.outcome == "error" for outcome in outcomes),
        n_samples=int(tables["samples"]["id"].notna().sum()),
        n_samples_per_class=n_per_class,
        great_expectations_version=gx.__version__,
        checks=tuple(outcomes),
    )
    (out / REPORT).write_bytes(canonical_json(report.model_dump(mode="json")))
    (out / DATA_DOCS).parent.mkdir(parents=True, exist_ok=True)
    (out / DATA_DOCS).write_text(render_data_docs(report, results), encoding="utf-8")


def raise_for_validation(out: Path) -> None:
    """Refuses the data if stage `validate` found a critical fault.

    Args:
        out: Output of stage `validate`.

    Raises:
        DataError: A critical check failed; `findings` lists every bad item once.
        RegraftError: A check itself did not work, which says nothing about the data.
    """
    report = read_report(out)
    failed = report.with_outcome("failed", "critical")
    broken = report.with_outcome("error", "critical") + report.with_outcome("error", "warning")
    if failed:
        raise DataError(
            got=f"data that failed {len(failed)} of {len(report.checks)} checks: "
            + "; ".join(f"{check.name} ({check.observed})" for check in failed)
            + ".",
            allowed="; ".join(check.expected for check in failed) + ".",
            next_step=f"correct the labels table or the files listed below; the whole report is {out / DATA_DOCS}.",
            findings=_findings(failed),
        )
    if broken:
        raise RegraftError(
            got=f"{len(broken)} checks that did not work: " + "; ".join(f"{check.name} ({check.error})" for check in broken) + ".",
            allowed="checks that end in passed or failed.",
            next_step="report this as a bug of Regraft, with validation.json; nothing is known to be wrong with the data.",
        )


def _findings(failed: Iterable[CheckResult]) -> list[Finding]:
    findings = [Finding(item.where, item.problem) for check in failed for item in check.unexpected]
    return list(dict.fromkeys(findings))


def _run(checks: Sequence[Check], tables: Mapping[str, pd.DataFrame]) -> dict[str, ExpectationSuiteValidationResult]:
    """Runs the checks of each table in one go and returns Great Expectations' results by table."""
    import great_expectations as gx

    source = _context().data_sources.add_pandas("manifest")
    results: dict[str, ExpectationSuiteValidationResult] = {}
    for name, table in tables.items():
        expectations = [_named(check) for check in checks if check.table == name]
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all").get_batch({"dataframe": table})
        results[name] = batch.validate(
            gx.ExpectationSuite(name=name, expectations=expectations),
            result_format={
                "result_format": "COMPLETE",
                "unexpected_index_column_names": [PLACE_COLUMN[name]],
                "return_unexpected_index_query": False,
            },
        )
    return results


def _context() -> EphemeralDataContext:
    import great_expectations as gx
    from great_expectations.data_context.types.base import DataContextConfig, InMemoryStoreBackendDefaults

    # The default ephemeral context leaves a folder in the temporary directory on every run, shows progress bars and has analytics on.
    stores = InMemoryStoreBackendDefaults(init_temp_docs_sites=False)
    settings = DataContextConfig(store_backend_defaults=stores, analytics_enabled=False, progress_bars={"globally": False})
    return gx.get_context(mode="ephemeral", project_config=settings)


def _named(check: Check) -> Any:
    # Results come back grouped by metric, not in the suite's order: the name finds them again.
    return check.expectation.copy(update={"meta": {"check": check.name}})


def _paired(
    checks: Sequence[Check], results: Mapping[str, ExpectationSuiteValidationResult]
) -> list[tuple[Check, ExpectationValidationResult]]:
    by_name = {result.expectation_config.meta["check"]: result for table in results.values() for result in table.results}
    return [(check, by_name[check.name]) for check in checks]


def _check_result(check: Check, result: ExpectationValidationResult, problems: ProblemsByPlace) -> CheckResult:
    error = _exception_message(result.exception_info)
    return CheckResult(
        name=check.name,
        table=check.table,
        expected=check.expected,
        expectation=result.expectation_config.type,
        severity=check.expectation.severity.value,
        outcome=_outcome(check, result, error),
        observed="nothing: the check did not work" if error else _observed(check, result.result),
        unexpected=() if error or result.success else _unexpected(check, result.result, problems),
        error=error,
    )


def _outcome(check: Check, result: ExpectationValidationResult, error: str | None) -> Outcome:
    if error:
        return "error"
    if _has_nothing_to_judge(check, result.result):
        return "not_judged"
    return "passed" if result.success else "failed"


def _has_nothing_to_judge(check: Check, result: Mapping[str, Any]) -> bool:
    # Great Expectations lets every expectation of an empty column pass.
    return bool(check.nothing_to_judge) and result["element_count"] == 0


def _exception_message(information: Mapping[str, Any]) -> str | None:
    # One exception is a flat mapping; several are keyed by the metric that raised them.
    parts = [information] if "raised_exception" in information else list(information.values())
    messages = [str(part["exception_message"]) for part in parts if part["raised_exception"]]
    return "; ".join(dict.fromkeys(messages)) or None


def _observed(check: Check, result: Mapping[str, Any]) -> str:
    if _has_nothing_to_judge(check, result):
        return check.nothing_to_judge
    if "unexpected_count" not in result:
        return f"{result['observed_value']:,}"
    n_unexpected, n_checked = result["unexpected_count"], result["element_count"]
    if not n_unexpected:
        return "no exception"
    return f"{n_unexpected:,} {'exception' if n_unexpected == 1 else 'exceptions'} in {n_checked:,}"


def _unexpected(check: Check, result: Mapping[str, Any], problems: ProblemsByPlace) -> tuple[UnexpectedItem, ...]:
    place = PLACE_COLUMN[check.table]
    column = result_column(check)
    items: list[UnexpectedItem] = []
    for row in result.get("unexpected_index_list") or []:
        known = problems.get((check.problem_kind or "", row[place]))
        items.append(UnexpectedItem(where=row[place], problem=known.problem if known else check.describe(row[column])))
    return tuple(items)


def result_column(check: Check) -> str:
    """The column that a check looks at; empty for a check of the whole table."""
    return str(getattr(check.expectation, "column", ""))
