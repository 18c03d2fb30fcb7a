"""What a run has decided and not told, as files; `test_killed_retraining.py` kills real ones."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest

from flows import decided
from flows.decided import decided_before, forget_decided, is_told, keep_decided, settle_untold
from flows.pending import PendingApproval, save_pending
from flows.records import Outcome, RunRecord, read_record, save_record
from flows.result import Result
from flows.session import Session
from flows.trigger_rows import attempts
from pipelines.gates.decision import Forced, Judgement
from pipelines.gates.human_approval import not_asked
from pipelines.versioning.registry import ChampionRecord
from pipelines.workspace import Workspace
from tests.conftest import git
from tests.flows.conftest import project_config

BEGUN = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
GATE = {"gate": "min_metric", "outcome": "pass"}


@pytest.fixture
def session(tmp_path: Path, identity: None) -> Session:
    git(tmp_path, "init", "-q")
    return Session(Workspace(tmp_path), project_config("toy"))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str]]:
    """Run and outcome of each announcement."""
    said: list[tuple[str, str]] = []
    monkeypatch.setattr(decided, "announce", lambda record: said.append((record.run, record.outcome)))
    return said


def record(run: str, outcome: Outcome, project: str = "toy") -> RunRecord:
    common = {"project": project, "trigger": "drift", "started": BEGUN, "finished": BEGUN, "reason": f"It was {outcome}."}
    return RunRecord.model_validate({"run": run, "outcome": outcome, "dataset": "d", "bundle": "b", "decisions": [GATE], **common})


def promoted_by(run: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The registry's word for it."""
    change = ChampionRecord(
        project="toy",
        version="v0.0.2",
        bundle_id="b",
        dataset_digest="d",
        commit="0" * 40,
        promoted_at=BEGUN,
        promoted_by="Test",
        kind="promote",
        why="It was better.",
        evidence={"run": run, "trigger": "drift", "dataset": "d", "bundle": "b", "decisions": [GATE], "forced": None},
        tag="toy#prod#2",
    )
    monkeypatch.setattr(decided, "history", lambda *_: [change])


@pytest.mark.parametrize("outcome", ["refused", "unchanged", "skipped"])
def test_what_is_no_promotion_stands_as_it_was_decided(session: Session, outcome: Outcome) -> None:
    keep_decided(session, Result(record("r1", outcome)))
    found = decided_before(session, "r1")
    assert found is not None
    assert found.record.model_copy(update={"finished": BEGUN}) == record("r1", outcome)
    assert found.record.finished > BEGUN
    assert decided_before(session, "r2") is None
    forget_decided(session.workspace, "r1")
    assert decided_before(session, "r1") is None


def test_a_promotion_counts_where_the_registry_has_it(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    keep_decided(session, Result(record("r1", "promoted"), card="# Card"))
    assert decided_before(session, "r1") is None, "killed before it: it is judged again"
    promoted_by("r1", monkeypatch)
    found = decided_before(session, "r1")
    assert found is not None
    assert (found.record.outcome, found.candidate, found.card) == ("promoted", None, "# Card")


@pytest.mark.parametrize("content", [None, "{", '{"record": 1}'])
def test_where_the_file_is_lost_the_registry_tells(session: Session, monkeypatch: pytest.MonkeyPatch, content: str | None) -> None:
    promoted_by("r1", monkeypatch)
    if content is not None:
        keep_decided(session, Result(record("r1", "promoted")))
        (session.workspace.state / "decided" / "r1.json").write_text(content)
    found = decided_before(session, "r1")
    assert found is not None
    kept = found.record
    assert (kept.outcome, kept.version, kept.reason, kept.bundle) == ("promoted", "v0.0.2", "It was better.", "b")
    assert kept.decisions == [GATE]


def test_a_promotion_is_told_where_its_record_is_there_and_nothing_is_left_to_do(session: Session) -> None:
    assert is_told(session, "r1") is None
    save_record(session.workspace, record("r1", "promoted"))
    assert is_told(session, "r1") == record("r1", "promoted")
    keep_decided(session, Result(record("r1", "promoted")))
    assert is_told(session, "r1") is None
    save_record(session.workspace, record("r2", "skipped"))
    assert is_told(session, "r2") is None, "who starts it again wants it to look again"


def test_a_refusal_that_is_told_stands_where_its_run_is_started_again(session: Session, told: list[tuple[str, str]]) -> None:
    """The policy would only find that these data were refused, and the judgement would give way to `skipped`."""
    keep_decided(session, Result(record("r1", "refused")))
    assert is_told(session, "r1") is None
    settle_untold(session, "now")
    assert told == [("r1", "refused")]
    kept = is_told(session, "r1")
    assert kept is not None
    assert (kept.outcome, kept.decisions) == ("refused", [GATE])


def test_a_refusal_that_still_waits_for_a_person_is_not_told(session: Session) -> None:
    save_record(session.workspace, record("r1", "refused"))
    assert is_told(session, "r1") is not None
    waiting = PendingApproval(
        record=record("r1", "waiting"),
        deadline=BEGUN,
        config="c",
        outputs={},
        champion_tag=None,
        champion_evaluation=None,
        judgement=Judgement.of([not_asked(Forced(reason="r", by="Ada"))]),
    )
    save_pending(session.workspace, waiting)
    assert is_told(session, "r1") is None


def damaged(session: Session, item: RunRecord) -> Path:
    keep_decided(session, Result(item))
    path = session.workspace.state / "decided" / f"{item.run}.json"
    path.write_text('{"record": ')
    return path


def test_what_cannot_be_read_is_not_told_and_is_set_aside(
    session: Session, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    save_record(session.workspace, record("r1", "promoted"))
    path = damaged(session, record("r1", "promoted"))
    promoted_by("r1", monkeypatch)
    assert is_told(session, "r1") is None
    found = decided_before(session, "r1")
    assert found is not None
    assert (found.record.outcome, found.record.version) == ("promoted", "v0.0.2")
    assert (path.exists(), path.with_suffix(".unreadable").read_text()) == (False, '{"record": ')
    (said,) = [item.getMessage() for item in caplog.records if item.name == "flows.kept_runs"]
    assert said.endswith("cannot be read; it was renamed to r1.unreadable.")


@pytest.mark.parametrize(("outcome", "stands"), [("refused", True), ("skipped", False), ("promoted", False)])
def test_without_a_promotion_only_a_recorded_refusal_stands_where_the_file_cannot_be_read(
    session: Session, outcome: Outcome, stands: bool
) -> None:
    save_record(session.workspace, record("r1", outcome))
    damaged(session, record("r1", outcome))
    found = decided_before(session, "r1")
    assert (found is not None) is stands
    assert found is None or found.record == record("r1", outcome)


def test_the_next_run_tells_a_promotion_whose_file_cannot_be_read(
    session: Session, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    promoted_by("r1", monkeypatch)
    damaged(session, record("r1", "promoted"))
    other = damaged(session, record("r2", "refused", "other"))
    now = damaged(session, record("now", "promoted"))
    for _ in range(2):
        settle_untold(session, "now")
    assert told == [("r1", "promoted")]
    assert other.exists(), "another project's, for all that is known"
    assert now.exists()


def test_the_next_run_tells_what_others_have_left(session: Session, told: list[tuple[str, str]], monkeypatch: pytest.MonkeyPatch) -> None:
    promoted_by("r1", monkeypatch)
    left = [
        record("r1", "promoted"),
        record("r2", "refused"),
        record("r3", "promoted"),
        record("r4", "skipped", "other"),
        record("now", "refused"),
    ]
    for item in left:
        keep_decided(session, Result(item))
    settle_untold(session, "now")
    assert sorted(told) == [("r1", "promoted"), ("r2", "refused")]
    kept = {run: read_record(session.workspace, run) for run in ("r1", "r2", "r3", "r4", "now")}
    assert {run: item.outcome for run, item in kept.items() if item} == {"r1": "promoted", "r2": "refused"}
    assert [(row.run, row.action) for row in attempts(session)] == [("r2", "refused")]
    assert sorted(path.stem for path in (session.workspace.state / "decided").glob("*.json")) == ["now", "r4"]
    settle_untold(session, "now")
    assert len(told) == 2
