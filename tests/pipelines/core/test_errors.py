from __future__ import annotations

import pickle

import pytest

from pipelines.core import errors
from pipelines.core.errors import ConfigurationError, ConflictError, DataError, Finding, IntegrityError, RefusedError, RegraftError


@pytest.mark.parametrize(
    ("kind", "exit_code", "http_status"),
    [
        (RegraftError, 4, 500),
        (ConfigurationError, 2, 400),
        (DataError, 3, 422),
        (IntegrityError, 3, 500),
        (RefusedError, 1, 409),
        (ConflictError, 1, 409),
    ],
)
def test_whose_fault_decides_exit_code_and_status(kind: type[RegraftError], exit_code: int, http_status: int) -> None:
    assert (kind.exit_code, kind.http_status) == (exit_code, http_status)


def test_codes_are_different() -> None:
    kinds = [RegraftError, *RegraftError.__subclasses__()]
    assert len({kind.code for kind in kinds}) == len(kinds)
    assert f"├── {ConfigurationError.__name__}" in (errors.__doc__ or "")


def test_the_message_has_its_three_parts_and_survives_another_process() -> None:
    error = DataError(got="a.", allowed="b.", next_step="c.", findings=[Finding("x.png", "truncated")])
    copy = pickle.loads(pickle.dumps(error))  # noqa: S301 (what a worker does with it)
    assert str(copy) == "a. Allowed: b. Next: c."
    assert copy.findings == (Finding("x.png", "truncated"),)
