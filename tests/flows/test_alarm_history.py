from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from benchmarks.digits_traffic import DigitsTraffic
from flows.alarm_history import allowed_for, read_spendings
from flows.session import Session
from monitoring.reference import Reference
from monitoring.window import Window
from pipelines.config import load_config
from pipelines.core.errors import DataError, IntegrityError
from pipelines.workspace import Workspace

NOW = datetime(2026, 5, 1, tzinfo=UTC)
CONF = Path(__file__).parents[2] / "conf" / "digits.yaml"


@pytest.fixture(scope="module")
def digits() -> DigitsTraffic:
    return DigitsTraffic()


@pytest.fixture
def session(tmp_path: Path) -> Session:
    return Session(Workspace(tmp_path), load_config(CONF))


def history(session: Session) -> Path:
    return session.workspace.state / "monitoring" / "digits.json"


def drawn(digits: DigitsTraffic, seed: int, n_window: int = 200) -> tuple[Window, Reference]:
    window, reference = digits.draw(seed, n_window)
    return replace(window, request_ids=tuple(f"{seed}-{name}" for name in window.request_ids)), reference


def test_each_window_is_paid_before_it_is_judged(digits: DigitsTraffic, session: Session) -> None:
    first = allowed_for(session, *drawn(digits, 1), NOW)
    second = allowed_for(session, *drawn(digits, 2), NOW + timedelta(minutes=1))
    assert second.level == pytest.approx(first.level / 2, rel=1e-3)
    spendings = read_spendings(history(session))
    assert [spending.level for spending in spendings] == [first.level, second.level]
    assert not list(history(session).parent.glob("*.part"))


def test_the_same_window_pays_once_and_has_the_same_level(digits: DigitsTraffic, session: Session) -> None:
    first = allowed_for(session, *drawn(digits, 1), NOW)
    allowed_for(session, *drawn(digits, 2), NOW + timedelta(minutes=1))
    again = allowed_for(session, *drawn(digits, 1), NOW + timedelta(days=3))
    assert again.level == first.level
    assert len(read_spendings(history(session))) == 2


def test_new_labels_make_it_another_window(digits: DigitsTraffic, session: Session) -> None:
    window, reference = drawn(digits, 1)
    allowed_for(session, window, reference, NOW)
    allowed_for(session, replace(window, true_labels=(None, *window.true_labels[1:])), reference, NOW)
    assert len(read_spendings(history(session))) == 2


def test_a_window_that_is_not_judged_pays_nothing(digits: DigitsTraffic, session: Session) -> None:
    allowed_for(session, *drawn(digits, 1, n_window=40), NOW)
    assert read_spendings(history(session)) == []
    for minute in range(30):
        latest = allowed_for(session, *drawn(digits, minute), NOW + timedelta(seconds=minute))
    assert latest.due_at is not None
    assert len(read_spendings(history(session))) < 30


def test_a_window_of_another_bundle_pays_nothing(digits: DigitsTraffic, session: Session) -> None:
    window, reference = drawn(digits, 1)
    with pytest.raises(IntegrityError, match="bundle another instead of"):
        allowed_for(session, replace(window, bundle="another"), reference, NOW)
    assert not history(session).exists()


def test_a_damaged_history_is_refused_and_kept(digits: DigitsTraffic, session: Session) -> None:
    allowed_for(session, *drawn(digits, 1), NOW)
    history(session).write_text("[{")
    with pytest.raises(DataError, match=r"alarm history digits\.json, which cannot be read.*or delete it: the next window then counts"):
        allowed_for(session, *drawn(digits, 2), NOW)
    assert history(session).read_text() == "[{"
