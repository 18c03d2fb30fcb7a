"""What was allowed to the windows that were judged: the part of monitoring that outlives a look.

`.regraft/monitoring/PROJECT.json` holds the latest spendings. It cannot be made again: without it the next window is a first one.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from filelock import FileLock, Timeout
from pydantic import TypeAdapter, ValidationError

from flows.session import Session
from monitoring.alarm_budget import INPUT_SHARE, Allowance, Spending, allowance
from monitoring.decision import refuse_mismatch, why_not_judged, window_id
from monitoring.reference import Reference
from monitoring.window import Window
from pipelines.core.errors import DataError, RefusedError

_MAX_KEPT = 1_000
_LOCK_SECONDS = 30
_SPENDINGS: TypeAdapter[list[Spending]] = TypeAdapter(list[Spending])


def allowed_for(session: Session, window: Window, reference: Reference, now: datetime) -> Allowance:
    """The level at which a window may be tested, paid before it is judged: a crash wastes a level, it never gives one twice.

    The very window that was judged before has the same level again and pays nothing: it gets the same verdict, so it is the same alarm.
    A window that is not judged pays nothing either.

    Args:
        session: Whose history and configuration.
        window: About to be judged.
        reference: Of the same bundle.
        now: Aware.
    """
    refuse_mismatch(window, reference)
    config, identity = session.config.monitor, window_id(window)
    with _history(session) as path:
        spendings = read_spendings(path)
        for spending in reversed(spendings):
            if (spending.bundle, spending.window_id) == (window.bundle, identity):
                return Allowance(spending.level, spending.balance)
        allowed = allowance(spendings[-1] if spendings else None, now, config.false_alarms_per_year * INPUT_SHARE)
        if why_not_judged(window, reference, config, allowed) is None:
            paid = Spending(judged_at=now, bundle=window.bundle, window_id=identity, level=allowed.level, balance=allowed.balance)
            _write(path, [*spendings, paid][-_MAX_KEPT:])
        return allowed


def read_spendings(path: Path) -> list[Spending]:
    """Oldest first; empty where nothing was judged yet.

    Raises:
        DataError: The file is damaged.
    """
    if not path.is_file():
        return []
    try:
        return _SPENDINGS.validate_json(path.read_bytes())
    except ValidationError as error:
        raise DataError(
            got=f"the alarm history {path.name}, which cannot be read: {error.errors(include_url=False)[0]['msg']}.",
            allowed="the file as `regraft monitor` wrote it.",
            next_step=f"restore {path}, or delete it: the next window then counts as a first one, with a week's worth of false alarms.",
        ) from error


@contextmanager
def _history(session: Session) -> Iterator[Path]:
    folder = session.workspace.state / "monitoring"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with FileLock(folder / "history.lock", timeout=_LOCK_SECONDS):
            yield folder / f"{session.config.project}.json"
    except Timeout as error:
        raise RefusedError(
            got=f"an alarm history that another process has held for {_LOCK_SECONDS} s.",
            allowed="one monitor at a time.",
            next_step="run `regraft monitor` again when the other has ended.",
        ) from error


def _write(path: Path, spendings: list[Spending]) -> None:
    staging = path.with_suffix(".json.part")
    staging.write_bytes(_SPENDINGS.dump_json(spendings, indent=1))
    staging.replace(path)
