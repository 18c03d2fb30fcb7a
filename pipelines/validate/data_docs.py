"""The page of a validation: our summary, then Great Expectations' Data Docs, in one file that needs no network.

Great Expectations' own page loads styles, scripts and a logo from seven hosts. Its sections are rendered by its own templates here,
inside of a page that loads nothing.
"""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pipelines.validate.page import COLLAPSE, PAGE, STYLE
from pipelines.validate.report import CheckResult, ValidationReport

if TYPE_CHECKING:
    from great_expectations.core import ExpectationSuiteValidationResult

MAX_ITEMS_PER_CHECK = 200
_ABOUT = {
    "samples": "a row for each row of the labels table",
    "classes": "a row for each label of the conf file",
    "notes": "a row for each thing that was left out",
    "languages": "a row for each language of the texts that came last",
}


@dataclass(frozen=True)
class Verdict:
    """The first thing a reader sees.

    Attributes:
        tone: `good`, `warn` or `bad`: a class of the style.
    """

    tone: str
    word: str
    sentence: str


def render_data_docs(report: ValidationReport, results: Mapping[str, ExpectationSuiteValidationResult]) -> str:
    """The page as HTML; the same for the same arguments.

    Args:
        report: Of the validation.
        results: Great Expectations' results by table.
    """
    template = _page_environment().get_template("data_validation.html")
    return str(
        template.render(
            report=report,
            style=STYLE,
            verdict=_verdict(report),
            n_passed=sum(check.outcome == "passed" for check in report.checks),
            tones={check.name: _tone(check) for check in report.checks},
            words={check.name: _word(check) for check in report.checks},
            largest_class=max(*report.n_samples_per_class.values(), 1),
            max_items=MAX_ITEMS_PER_CHECK,
            documents=[
                {"table": name, "about": _ABOUT[name], "sections": _sections(result)}
                for name, result in results.items()
                if _has_rows(result)
            ],
        )
    )


def _page_environment() -> Any:
    from great_expectations.render.view import DefaultJinjaPageView
    from jinja2 import ChoiceLoader, DictLoader

    environment = DefaultJinjaPageView().env
    environment.loader = ChoiceLoader([DictLoader({"data_validation.html": PAGE, "collapse.j2": COLLAPSE}), environment.loader])
    return environment


def _has_rows(result: ExpectationSuiteValidationResult) -> bool:
    # Of an empty table Great Expectations says "NaN% null".
    return any(item.result.get("element_count") != 0 for item in result.results)


def _sections(result: ExpectationSuiteValidationResult) -> list[dict[str, Any]]:
    from great_expectations.render.renderer.page_renderer import ValidationResultsPageRenderer

    document = ValidationResultsPageRenderer().render(result).to_json_dict()
    # The first section is an overview with the time of the run; ours says more, and the same data gives the same page.
    sections: list[dict[str, Any]] = _with_escaped_cells(document["sections"][1:])
    return sections


def _with_escaped_cells(content: Any) -> Any:
    """Great Expectations escapes what it puts into sentences, but not the cells of its tables: those hold labels and paths as they are."""
    if isinstance(content, list):
        return [_with_escaped_cells(item) for item in content]
    if not isinstance(content, dict):
        return content
    return {key: _escaped_rows(value) if key == "table" else _with_escaped_cells(value) for key, value in content.items()}


def _escaped_rows(rows: list[list[Any]]) -> list[list[Any]]:
    return [[html.escape(cell) if isinstance(cell, str) else _with_escaped_cells(cell) for cell in row] for row in rows]


def _verdict(report: ValidationReport) -> Verdict:
    failed = [check for check in report.checks if check.outcome == "failed" and check.severity == "critical"]
    broken = [check for check in report.checks if check.outcome == "error"]
    warnings = [check for check in report.checks if check.outcome == "failed" and check.severity == "warning"]
    if failed:
        return Verdict("bad", "Refused.", f"{_count(failed)} failed that training must not ignore; they are listed below.")
    if broken:
        return Verdict("bad", "Not decided.", f"{_count(broken)} did not work, which says nothing about the data.")
    if warnings:
        return Verdict("warn", "Accepted,", f"with {len(warnings)} warning{'s' if len(warnings) > 1 else ''}.")
    open_ones = [check for check in report.checks if check.outcome == "not_judged"]
    sentence = f"Every check passed but {_count(open_ones)} for which there is too little to judge." if open_ones else "Every check passed."
    return Verdict("good", "Accepted.", sentence)


def _count(checks: list[CheckResult]) -> str:
    return "1 check" if len(checks) == 1 else f"{len(checks)} checks"


def _tone(check: CheckResult) -> str:
    if check.outcome in ("passed", "not_judged"):
        return "good" if check.outcome == "passed" else "open"
    return "warn" if check.outcome == "failed" and check.severity == "warning" else "bad"


def _word(check: CheckResult) -> str:
    words: dict[str, str] = {"error": "Error", "passed": "Passed", "not_judged": "Not judged"}
    if check.outcome in words:
        return words[check.outcome]
    return "Failed" if check.severity == "critical" else "Warning"
