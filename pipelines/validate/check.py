"""One expectation of a dataset, with what a reader must know of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from pipelines.label_rows import ProblemKind

if TYPE_CHECKING:
    from great_expectations.expectations.expectation import Expectation


@dataclass(frozen=True)
class Check:
    """One expectation.

    Attributes:
        name: Of the check, in the report.
        table: One of the names that `manifest_tables` gives.
        expected: What should hold, as a sentence.
        expectation: Great Expectations' own; its severity decides whether a failure refuses the data.
        describe: Says of an unexpected value what is wrong with it.
        problem_kind: The manifest's problems that say it better, if there are any.
        nothing_to_judge: What a table without a row means where it is no proof that all is well; empty where it is.
    """

    name: str
    table: Literal["samples", "classes", "notes", "languages"]
    expected: str
    expectation: Expectation
    describe: Callable[[object], str] = str
    problem_kind: ProblemKind | None = None
    nothing_to_judge: str = ""
