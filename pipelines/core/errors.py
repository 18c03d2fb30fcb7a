"""The errors a user can meet, by whose fault they are.

    RegraftError             exit 4, HTTP 500   ours: a bug, or a state that must not happen
    ├── ConfigurationError   exit 2, HTTP 400   wrong use: an option, a conf key, the environment
    ├── DataError            exit 3, HTTP 422   bad samples or labels; may carry a table of them
    ├── IntegrityError       exit 3, HTTP 500   bytes that do not match their hash, or a bundle its goldens
    └── RefusedError         exit 1, HTTP 409   a gate or a check said no
        └── ConflictError    exit 1, HTTP 409   another run or command was there first

Every message has three parts: what was got, what is allowed, and the next step.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


@dataclass(frozen=True)
class Finding:
    """One bad item, a row of the table that a `DataError` carries.

    Attributes:
        where: The item: a path relative to the workspace, or a row of the labels table.
        problem: What is wrong with it, in a few words.
    """

    where: str
    problem: str


class RegraftError(Exception):
    """Base of all errors that Regraft raises on purpose.

    Args:
        got: What was found, naming the thing.
        allowed: What would have been accepted.
        next_step: What the reader can do now.
        findings: The bad items, when there are several of them.
    """

    exit_code: ClassVar[int] = 4
    http_status: ClassVar[int] = 500
    code: ClassVar[str] = "internal"

    def __init__(self, got: str, allowed: str, next_step: str, findings: Sequence[Finding] = ()) -> None:
        self.got = got
        self.allowed = allowed
        self.next_step = next_step
        self.findings = tuple(findings)
        super().__init__(f"{got} Allowed: {allowed} Next: {next_step}")

    def __reduce__(self) -> tuple[type[RegraftError], tuple[str, str, str, tuple[Finding, ...]]]:
        # Exception pickles `args` only, and an error crosses processes when a worker or Prefect carries it.
        return type(self), (self.got, self.allowed, self.next_step, self.findings)


class ConfigurationError(RegraftError):
    """Wrong use: an option, a conf key, or something missing from the environment."""

    exit_code = 2
    http_status = 400
    code = "configuration"


class DataError(RegraftError):
    """Samples or labels that cannot be used; `findings` lists all of them at once."""

    exit_code = 3
    http_status = 422
    code = "bad_data"


class IntegrityError(RegraftError):
    """Bytes that do not match their recorded hash, or a bundle that does not reproduce its goldens."""

    exit_code = 3
    http_status = 500
    code = "integrity"


class RefusedError(RegraftError):
    """A gate or a check refused; nothing was promoted."""

    exit_code = 1
    http_status = 409
    code = "refused"


class ConflictError(RefusedError):
    """Another run or command was there first. Nothing is wrong with this one, so that it may come again as it is."""
