from __future__ import annotations

from datetime import UTC, datetime

import pytest

from monitoring.reason import span


@pytest.mark.parametrize(
    ("first_at", "last_at", "text"),
    [
        (None, None, "no requests"),
        (
            datetime(2026, 1, 1, tzinfo=UTC),
            datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
            "2026-01-01 00:00:00 to 2026-01-02 03:04:05 UTC",
        ),
    ],
)
def test_span(first_at: datetime | None, last_at: datetime | None, text: str) -> None:
    assert span(first_at, last_at) == text
