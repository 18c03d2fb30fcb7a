"""The outcome of a validation as data: `validation.json`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

REPORT = "validation.json"
DATA_DOCS = "data_docs/index.html"

Outcome = Literal["passed", "failed", "not_judged", "error"]


class UnexpectedItem(BaseModel):
    """One item that is not as expected.

    Attributes:
        where: Path of a sample, a row of the labels table, or a class.
        problem: What is wrong with it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    where: str
    problem: str


class CheckResult(BaseModel):
    """How one check went.

    Attributes:
        name: Of the check.
        table: That it looked at: `samples`, `classes`, `notes` or `languages`.
        expected: What should hold, as a sentence.
        expectation: Great Expectations' type of it.
        severity: A failed `critical` check refuses the data.
        outcome: `not_judged` means that there is too little to judge by, `error` that the check itself did not work: neither says
            anything about the data.
        observed: What was found, in a few words.
        unexpected: Every bad item.
        error: Why the check did not work.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    table: str
    expected: str
    expectation: str
    severity: Literal["critical", "warning"]
    outcome: Outcome
    observed: str
    unexpected: tuple[UnexpectedItem, ...] = ()
    error: str | None = None

    @property
    def refuses(self) -> bool:
        """Whether the data must not be used."""
        return self.severity == "critical" and self.outcome != "passed"


class ValidationReport(BaseModel):
    """All checks of one dataset.

    Attributes:
        success: No critical check failed, and none went wrong.
        n_samples: Readable samples.
        n_samples_per_class: One for each label of the conf file, 0 included.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    project: str
    success: bool
    n_samples: int
    n_samples_per_class: dict[str, int]
    great_expectations_version: str
    checks: tuple[CheckResult, ...] = Field(min_length=1)

    def with_outcome(self, outcome: Outcome, severity: str) -> list[CheckResult]:
        """The checks that ended so."""
        return [check for check in self.checks if check.outcome == outcome and check.severity == severity]


def read_report(out: Path) -> ValidationReport:
    """Reads what stage `validate` wrote."""
    return ValidationReport.model_validate_json((out / REPORT).read_bytes())
