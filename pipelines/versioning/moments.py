"""Who was champion at a moment that a person names."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from pipelines.core.errors import ConfigurationError
from pipelines.versioning.account import champion_row
from pipelines.versioning.champions import champion_at


def champion_at_moment(root: Path, project: str, moment: str) -> dict[str, Any]:
    """The champion of a moment.

    Args:
        root: The workspace.
        project: Name of the model.
        moment: ISO 8601, as `read_moment` takes it.

    Returns:
        `at`: the moment in UTC; `champion`: as in the history, with `promoted_by` and `evidence`; None before the first promotion.

    Raises:
        ConfigurationError: It is no such time.
        IntegrityError: git cannot say who was champion.
    """
    when = read_moment(moment)
    record = champion_at(root, project, when)
    known = {**champion_row(record), "promoted_by": record.promoted_by, "evidence": dict(record.evidence)} if record else None
    return {"at": when.isoformat(), "champion": known}


def read_moment(text: str) -> datetime.datetime:
    """A time with a zone; UTC, in which the registry shows all its times, where the text names none.

    Raises:
        ConfigurationError: It is no time.
    """
    try:
        moment = datetime.datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise ConfigurationError(
            got=f"the time {text!r}.",
            allowed="ISO 8601: 2026-03-01, 2026-03-01T12:00 (both UTC), 2026-03-01T12:00:00+01:00 or 2026-03-01T12:00:00Z.",
            next_step="correct it; `regraft history` shows such times.",
        ) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=datetime.UTC)
