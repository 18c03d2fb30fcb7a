"""What a run finds when it starts: the policy over a real workspace's files."""

from __future__ import annotations

import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from flows.device_wait import Wait
from flows.exclusive import is_writing, only_writer
from flows.ingestion import NewLabels
from flows.pending import PendingApproval, all_pending, config_digest, save_pending
from flows.records import RunRecord, save_record
from flows.session import Session
from flows.trigger_orders import resume, snooze, stop
from flows.trigger_rows import add_row, attempts, latest_rows
from flows.triggering import consider_retraining, failure_noted, learn_from_feedback, look, note_refusal, settings_digest
from flows.unanswered import _settle
from monitoring.trigger.decision import TriggerDecision
from pipelines.config import ProjectConfig, TriggerSection
from pipelines.core.errors import DataError, RefusedError
from pipelines.core.request_log import FeedbackRecord, log_time
from pipelines.gates.decision import Forced, Judgement
from pipelines.gates.human_approval import not_asked
from pipelines.workspace import Workspace
from tests.conftest import git
from tests.flows.conftest import project_config
from tests.flows.registered import make_workspace_of_digits, session_of
from tests.monitoring.verdicts import verdict

DRIFT: dict[str, Any] = {"kind": "drift", "evidence": {"verdict": verdict("drift", "costs").model_dump(mode="json")}}
SCHEDULE: dict[str, Any] = {"kind": "schedule"}


@pytest.fixture
def session(tmp_path: Path, identity: None, monkeypatch: pytest.MonkeyPatch) -> Session:
    """Without a model; labels that are never used up, so that nothing but the policy's own memory holds a start back."""
    git(tmp_path, "init", "-q")
    monkeypatch.setattr("flows.triggering.count_new_labels", lambda *_: NewLabels(60, 0))
    return Session(Workspace(tmp_path), project_config("toy"))


def test_where_labels_are_fed_back_those_of_before_the_drift_do_not_count(session: Session) -> None:
    seen = verdict("drift", "unknown")
    assert seen.harm is not None
    few = seen.model_copy(update={"harm": seen.harm.model_copy(update={"n_labelled": 20})})
    trigger = {"kind": "monitor", "evidence": {"verdict": few.model_dump(mode="json")}}
    assert look(session, trigger).n_drift_labels is None
    log = session.workspace.serving / "log" / "feedback"
    log.mkdir(parents=True)
    (log / "2026-05-01.jsonl").write_text(FeedbackRecord(request_id="0" * 32, label="a", time=log_time()).model_dump_json() + "\n")
    assert look(session, trigger).n_drift_labels == 20
    assert consider_retraining(session, trigger).action == "ask_for_labels"


def with_trigger(session: Session, **changes: Any) -> Session:
    return Session(session.workspace, session.config.model_copy(update={"trigger": TriggerSection(**changes)}))


def record(session: Session, run: str, outcome: str = "promoted", trigger: str = "drift", dataset: str = "d") -> RunRecord:
    now = datetime.now(UTC)
    kept = RunRecord.model_validate(
        {
            "run": run,
            "project": "toy",
            "trigger": trigger,
            "started": now,
            "finished": now,
            "outcome": outcome,
            "reason": f"It was {outcome}.",
            "dataset": dataset,
        }
    )
    save_record(session.workspace, kept)
    note_refusal(session, kept)
    return kept


def asked(session: Session, trigger: dict[str, Any] = DRIFT, run: str = "r1", digest: str | None = None) -> TriggerDecision:
    return consider_retraining(session, trigger, run, data_digest=digest)


@pytest.mark.slow
def test_a_thousand_alerts_start_one_retraining(session: Session) -> None:
    """A thousand runs at the workspace's lock, eight at a time; each that starts leaves what a run leaves."""

    def alert(number: int) -> bool:
        with only_writer(session.workspace, wait_seconds=60):
            decision = asked(session, run=f"r{number}")
            if decision.starts:
                record(session, f"r{number}")
            return decision.starts

    with ThreadPoolExecutor(8) as pool:
        started = list(pool.map(alert, range(1_000)))
    assert sum(started) == 1
    assert [row.action for row in attempts(session)] == ["retrain"]
    found = latest_rows(session, 2_000)
    assert (len(found.rows), found.n_damaged) == (1_000, 0)


def test_a_row_says_what_was_looked_at(session: Session) -> None:
    decision = asked(session, digest="abc")
    (row,) = latest_rows(session).rows
    assert (row.action, row.reason, row.conditions) == ("retrain", decision.reason, decision.conditions)
    assert (row.asked_by, row.run, row.verdict, row.window, row.n_new_labels) == ("drift", "r1", "drift", "w", 60)
    assert (row.dataset, row.settings) == ("abc", settings_digest(session))


def test_what_the_monitor_would_start_is_no_start(session: Session) -> None:
    monitor = DRIFT | {"kind": "monitor"}
    assert [asked(session, monitor, f"m{number}").action for number in range(3)] == ["retrain"] * 3
    assert asked(session).action == "retrain"
    record(session, "r1")
    assert asked(session, monitor, "m9").action == "none", "now there is a cool-down"


def test_a_run_that_is_carried_on_does_not_stand_in_its_own_way(session: Session) -> None:
    assert asked(session, run="r1").starts
    record(session, "r1", "waiting")
    assert asked(session, run="r1").starts
    assert not asked(session, run="r2").starts


def failing(session: Session, run: str, error: Exception, kind: str = "drift") -> None:
    with pytest.raises(type(error)), failure_noted(session, run, kind):
        raise error


def test_one_that_failed_is_a_row_and_is_not_started_again_at_once(session: Session) -> None:
    assert asked(session, run="r1").starts
    failing(session, "r1", DataError(got="a torn file.", allowed="whole files.", next_step="mend it."))
    (_, row) = attempts(session)
    assert (row.action, row.run, row.asked_by, row.reason) == ("failed", "r1", "drift", "It failed (DataError): a torn file.")
    again = asked(session, run="r2")
    assert (again.action, "the last failed at" in again.reason) == ("none", True)
    assert asked(session, run="r1").starts, "the same run, started again by hand or by the reconciler"
    assert asked(session, SCHEDULE, "s1").starts
    assert asked(with_trigger(session, failure_cooldown_minutes=0), run="r3").starts


@pytest.mark.parametrize("kind", ["drift", "labels"])
def test_one_that_failed_before_the_policy_was_asked_counts_as_a_start(session: Session, kind: str) -> None:
    """Data that nobody has committed, for one; each new failure doubles the wait, and the week is used up."""
    uncommitted = DataError(got="uncommitted data.", allowed="committed data.", next_step="commit them.")
    failing(session, "r1", uncommitted, kind)
    failing(session, "r1", uncommitted, kind)
    assert len(look(session, DRIFT).starts) == 1, "the same run, started again"
    again = asked(session, run="r2")
    assert (again.action, "the last failed at" in again.reason) == ("none", True)
    assert asked(session, run="r1").starts, "it does not stand in its own way"
    failing(session, "r3", uncommitted, kind)
    assert "2 failed in a row, the last at" in asked(session, run="r4").reason
    patient = with_trigger(session, failure_cooldown_minutes=0, max_retrainings_per_week=2)
    assert "2 were started in the last seven days" in asked(patient, run="r4").reason
    record(session, "p1", "refused", "person")
    assert asked(session, run="r5").starts


@pytest.mark.parametrize("kind", ["person", "schedule", "adapt"])
def test_a_failure_of_what_no_event_started_is_no_start(session: Session, kind: str) -> None:
    failing(session, "r1", MemoryError(), kind)
    assert look(session, DRIFT).starts == ()
    assert asked(session, run="r2").starts


def test_a_persons_run_that_got_to_its_end_ends_the_wait(session: Session) -> None:
    assert asked(session, run="r1").starts
    failing(session, "r1", MemoryError())
    assert attempts(session)[-1].reason == "It failed (MemoryError): the run's log says more."
    record(session, "p1", "skipped", "person")
    assert not asked(session, run="r2").starts
    record(session, "p2", "refused", "person")
    assert asked(session, run="r3").starts


def test_what_is_no_failure_is_not_noted(session: Session) -> None:
    with failure_noted(session, "r1", "drift"):
        pass
    for signal in (KeyboardInterrupt, SystemExit):
        with pytest.raises(signal), failure_noted(session, "r1", "drift"):
            raise signal
    assert attempts(session) == []


def test_one_that_was_refused_its_turn_has_not_failed(session: Session) -> None:
    assert asked(session, run="r1").starts
    failing(session, "r1", Wait.of(0.001, "r1").over("the device", "another run"))
    assert [row.action for row in attempts(session)] == ["retrain"]
    assert asked(session, run="r2").starts


def test_one_that_a_check_refused_has_failed(session: Session) -> None:
    """As where the served Bento answers differently from the bundle: it will again."""
    failing(session, "r1", RefusedError(got="another answer.", allowed="the bundle's.", next_step="look."))
    assert [row.action for row in attempts(session)] == ["failed"]


def test_a_failure_that_cannot_be_kept_does_not_hide_what_failed(session: Session) -> None:
    (session.workspace.state / "trigger").parent.mkdir(parents=True, exist_ok=True)
    (session.workspace.state / "trigger").write_text("a file where the folder should be")
    failing(session, "r1", DataError(got="a torn file.", allowed="whole files.", next_step="mend it."))


def test_one_that_was_killed_may_go_on_at_once_until_the_week_is_used_up(session: Session) -> None:
    assert [asked(session, run=f"r{number}").action for number in range(3)] == ["retrain", "retrain", "none"]
    assert "2 failed in a row" in latest_rows(session).rows[-1].reason


def test_where_nothing_waits_after_failures_the_week_is_used_up(session: Session) -> None:
    small = with_trigger(session, max_retrainings_per_week=3, failure_cooldown_minutes=0)
    assert [asked(small, run=f"r{number}").action for number in range(4)] == ["retrain", "retrain", "retrain", "none"]
    assert "3 were started in the last seven days" in latest_rows(small).rows[-1].reason


def test_the_week_ends(session: Session) -> None:
    small = with_trigger(session, max_retrainings_per_week=1)
    assert asked(small).starts
    (row,) = attempts(small)
    assert not asked(small, run="r2").starts
    path = small.workspace.state / "trigger" / "toy.jsonl"
    path.unlink()
    add_row(small, row.model_copy(update={"at": row.at - timedelta(days=7)}))
    assert asked(small, run="r2").starts


@pytest.mark.parametrize("by", ["drift", "person", "schedule"])
@pytest.mark.parametrize("trigger", [DRIFT, SCHEDULE])
def test_refused_data_are_not_tried_again_whoever_tried_them(session: Session, by: str, trigger: dict[str, Any]) -> None:
    calm = with_trigger(session, cooldown_minutes=0)
    record(calm, "r0", "refused", by, dataset="d1")
    assert asked(calm, trigger, "r2", digest="d1").action == "none"
    assert "these very data (d1) was refused" in latest_rows(calm).rows[-1].reason
    assert asked(calm, trigger, "r3", digest="d2").action == "retrain"


def test_other_gates_make_it_another_attempt_and_other_cool_downs_do_not(session: Session) -> None:
    record(session, "r0", "refused", dataset="d1")
    content = session.config.model_dump(mode="json")
    gates = content | {"gates": [{"kind": "goldens"}, {"kind": "min_metric", "floor": 0.1}]}
    calmer = content | {"trigger": {"cooldown_minutes": 0}}
    for changed, starts in ((gates, True), (calmer, False)):
        other = Session(session.workspace, ProjectConfig.model_validate(changed))
        assert asked(other, digest="d1").starts is starts


def test_a_refused_adaptation_says_nothing_about_the_labelled_data(session: Session) -> None:
    record(session, "r0", "refused", "adapt", dataset="d1")
    assert asked(session, digest="d1").starts


def test_a_persons_word_holds_when_the_run_looks(session: Session) -> None:
    """The event was sent before: what counts is what holds when its run starts."""
    stop(session, "rebuilding")
    assert [asked(session, trigger).action for trigger in (DRIFT, SCHEDULE)] == ["none", "none"]
    resume(session)
    snooze(session, "1h", "audit")
    assert [asked(session, trigger, run).action for trigger, run in ((DRIFT, "r1"), (SCHEDULE, "r2"))] == ["none", "retrain"]
    resume(session)
    assert asked(session).action == "retrain"


def test_a_schedule_neither_counts_nor_is_counted(session: Session) -> None:
    small = with_trigger(session, max_retrainings_per_week=1)
    for number in range(3):
        assert asked(small, SCHEDULE, f"s{number}").starts
        record(small, f"s{number}", trigger="schedule")
    assert asked(small).starts


def test_the_monitor_sees_that_somebody_writes(session: Session) -> None:
    assert not is_writing(session.workspace)
    with only_writer(session.workspace):
        assert is_writing(session.workspace)
        monitored = asked(session, DRIFT | {"kind": "monitor"}, "m1")
    assert (monitored.action, "is under way" in monitored.reason) == ("none", True)
    assert not is_writing(session.workspace)


def test_an_interrupted_adaptation_goes_on_and_the_next_needs_new_inputs(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("flows.triggering.count_new_labels", lambda *_: NewLabels(0, 0))
    adapting = with_trigger(session, adapt_without_labels=True, min_unlabelled=20, cooldown_minutes=0)
    keep_inputs(adapting, 20, "a")
    assert asked(adapting, run="r1").action == "adapt"
    assert asked(adapting, run="r1").action == "adapt", "the same run after a crash"
    record(adapting, "r1", "refused", "adapt")
    assert asked(adapting, run="r2").action == "ask_for_labels", "nothing was kept since"
    keep_inputs(adapting, 20, "b")
    assert asked(adapting, run="r3").action == "adapt"


def keep_inputs(session: Session, n_inputs: int, digit: str) -> None:
    """Lines of the request log, each with raw bytes of its own."""
    from pipelines.core.request_log import log_time

    folder = session.workspace.serving / "log" / "requests"
    folder.mkdir(parents=True, exist_ok=True)
    lines = [
        {
            "request_id": f"{digit}{number:031x}",
            "time": log_time(),
            "bundle": "b",
            "label": "a",
            "probabilities": [1.0, 0.0],
            "embedding": [0.0],
            "statistics": [0.0],
            "domain": "d",
            "raw_sha256": f"{digit}{number:063x}",
        }
        for number in range(n_inputs)
    ]
    with (folder / "2026-05-01.jsonl").open("a", encoding="utf-8") as file:
        file.writelines(json.dumps(line) + "\n" for line in lines)


@pytest.mark.parametrize("evidence", [{}, {"evidence": {}}, {"evidence": None}, {"evidence": "moved"}])
def test_an_event_without_a_verdict_starts_nothing_and_says_that_nothing_was_judged(session: Session, evidence: dict[str, Any]) -> None:
    decision = asked(session, {"kind": "drift", **evidence})
    assert decision.action == "none"
    assert decision.reason == "Nothing calls for it: no window was judged, so no labels were counted."
    assert latest_rows(session).rows[-1].n_new_labels is None


def test_a_verdict_that_is_none_is_named(session: Session) -> None:
    trigger = {"kind": "drift", "evidence": {"verdict": {"verdict": "drift"}}}
    with pytest.raises(DataError, match=r"a verdict that cannot be read: reason: Field required.*judge the window again"):
        asked(session, trigger)
    assert latest_rows(session).rows == ()


def pending(session: Session, run: str, minutes: float, project: str = "toy") -> PendingApproval:
    """A run that waits for a person for so many minutes more."""
    waiting = PendingApproval(
        record=record(session, run, "waiting").model_copy(update={"project": project}),
        deadline=datetime.now(UTC) + timedelta(minutes=minutes),
        config=config_digest(session.config),
        outputs={},
        champion_tag=None,
        champion_evaluation=None,
        judgement=Judgement.of([not_asked(Forced(reason="r", by="Ada"))]),
    )
    save_pending(session.workspace, waiting)
    return waiting


@pytest.mark.parametrize(
    ("minutes", "project", "starts"), [(60, "toy", False), (-1, "toy", True), (60, "other", True)], ids=["waits", "over", "another's"]
)
def test_only_an_approval_that_can_still_be_given_is_waited_for(session: Session, minutes: float, project: str, starts: bool) -> None:
    pending(session, "r0", minutes, project)
    assert asked(session, digest="d").starts is starts


def test_a_refusal_by_silence_is_a_row_and_the_same_data_are_not_tried_again(session: Session) -> None:
    calm = with_trigger(session, cooldown_minutes=0)
    settled = _settle(calm, pending(calm, "r0", -1), {"outcome": "refused", "reason": "Nobody answered."})
    assert all_pending(calm.workspace) == []
    assert [(row.action, row.run, row.dataset, row.reason) for row in attempts(calm)] == [("refused", "r0", "d", settled.reason)]
    assert not asked(calm, run="r1", digest="d").starts
    assert asked(calm, run="r2", digest="other").starts


def test_silence_under_another_configuration_says_nothing_about_this_one(session: Session) -> None:
    """A candidate of `regraft retrain --set ...` is settled by a run without these overrides."""
    calm = with_trigger(session, cooldown_minutes=0)
    other = pending(calm, "r0", -1).model_copy(update={"config": "another"})
    _settle(calm, other, {"outcome": "refused", "reason": "Nobody answered."})
    assert [row.settings for row in attempts(calm)] == [None]
    assert asked(calm, run="r1", digest="d").starts


def test_runs_of_another_project_are_not_among_the_judged(session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A project with much data must not hide the labels that a smaller one has not learnt from."""
    from flows.ingestion import count_new_labels

    (tmp_path / "bundle").mkdir()
    (tmp_path / "bundle" / "lineage.json").write_text('{"n_samples": 2}')
    session.workspace.data.mkdir()
    (session.workspace.data / "labels.csv").write_text("path,label\n" + "".join(f"{number}.png,a\n" for number in range(7)))
    monkeypatch.setattr("pipelines.versioning.registry.champion", lambda *_: "a champion")
    monkeypatch.setattr("flows.ingestion.champion_bundle", lambda *_: tmp_path / "bundle")
    save_record(session.workspace, record(session, "r0").model_copy(update={"project": "other", "n_samples": 1_000}))
    assert count_new_labels(session).n == 5
    save_record(session.workspace, record(session, "r1").model_copy(update={"n_samples": 6}))
    assert count_new_labels(session).n == 1


def test_broken_inputs_in_the_event_start_nothing(session: Session) -> None:
    from monitoring.data_quality import DataQuality, QualityCheck

    check = QualityCheck(name="flat", n_broken=200, n=200, usual_frac=0.05, p_value=0, alarm=True)
    broken = verdict("drift", "costs").model_copy(update={"data_quality": DataQuality(checks=(check,), reason="All is dark.")})
    trigger = {"kind": "drift", "evidence": {"verdict": broken.model_dump(mode="json")}}
    assert asked(session, trigger).action == "raise_data_quality_alarm"
    assert attempts(session) == []


@pytest.fixture(scope="module")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with pytest.MonkeyPatch.context() as patch:
        root = tmp_path_factory.mktemp("digits")
        for role in ("AUTHOR", "COMMITTER"):
            patch.setenv(f"GIT_{role}_NAME", "Test")
            patch.setenv(f"GIT_{role}_EMAIL", "test@example.invalid")
        patch.setenv("DVC_SITE_CACHE_DIR", str(root / "dvc-site"))
        patch.setenv("DVC_GLOBAL_CONFIG_DIR", str(root / "dvc-global"))
        yield session_of(make_workspace_of_digits(root))


@pytest.mark.slow
def test_in_a_real_workspace(digits: Session) -> None:
    """No feedback, no model: drift asks for labels, a schedule goes on with the data that are there, and once refused it does not."""
    lesson = learn_from_feedback(digits, DRIFT, "r1")
    assert (lesson.start, lesson.decision.action) == (False, "ask_for_labels")
    assert "no input without a label was kept" in lesson.reason
    planned = learn_from_feedback(digits, SCHEDULE, "r2")
    assert planned.start
    dataset = latest_rows(digits).rows[-1].dataset
    assert dataset is not None
    record(digits, "r2", "refused", "schedule", dataset)
    assert not learn_from_feedback(digits, SCHEDULE, "r3").start
