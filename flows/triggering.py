"""Whether a run starts to learn: looks at the workspace, asks the policy (`monitoring.policy`), and keeps what was decided as a row.

The policy is asked twice. The monitor asks what should be done about its window, and shows it. The run that an event or a schedule starts
asks again, under the workspace's lock: an event may be late, doubled or lost, and only the workspace knows what has happened since. So a
thousand alerts start one retraining: the first run leaves its row, the labels it learned from and its cool-down to the others.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from flows.exclusive import is_writing
from flows.ingestion import NewLabels, count_new_labels, count_waiting_samples, finish_interrupted_ingestion, ingest_feedback
from flows.pending import all_pending
from flows.records import RunRecord, read_records
from flows.session import Session
from flows.trigger_orders import read_orders
from flows.trigger_rows import ASKED_BY_MONITOR, TriggerRow, add_row, attempts
from monitoring.policy import decide
from monitoring.trigger.decision import TriggerDecision
from monitoring.trigger.situation import Situation, Start
from pipelines.config import LEARNING_SECTIONS
from pipelines.core.bundle import canonical_json
from pipelines.core.errors import ConflictError, RefusedError, RegraftError

if TYPE_CHECKING:
    from monitoring.verdict import Verdict

_SCHEDULE = "schedule"
_EVENTS = ("drift", "labels")
_N_SHOWN = 300


@dataclass(frozen=True)
class Lesson:
    """Whether there is something to learn from, and why.

    Attributes:
        start: Whether the labelled data are learned from.
        reason: For people.
        decision: With `action`: `adapt` asks for an adaptation instead.
    """

    start: bool
    reason: str
    decision: TriggerDecision


def learn_from_feedback(session: Session, trigger: Mapping[str, Any], run: str = "") -> Lesson:
    """Asks the policy, and adds the labelled feedback to the data where it says so; to be called under the workspace's lock.

    With the feedback in, the digest of the data is known, and the policy is asked again: data that were refused are not tried again.

    Args:
        session: Of the workspace.
        trigger: Of the flow: `kind`; for `drift`, `evidence` holds the verdict that began it.
        run: Id of the flow run; a run that is carried on does not stand in its own way.
    """
    from pipelines.versioning.dataset import dataset_version

    finish_interrupted_ingestion(session)
    digest: str | None = dataset_version(session.workspace.root).digest
    if trigger["kind"] != _SCHEDULE and count_waiting_samples(session):
        wanted = _decision(session, look(session, trigger, run)).action == "retrain"
        digest = ingest_feedback(session).dataset if wanted else None
    decision = consider_retraining(session, trigger, run, data_digest=digest)
    return Lesson(decision.action == "retrain", decision.reason, decision)


def consider_retraining(session: Session, trigger: Mapping[str, Any], run: str = "", *, data_digest: str | None = None) -> TriggerDecision:
    """Looks, asks the policy, and keeps the answer as a row. Nothing is started here.

    Args:
        session: Of the workspace.
        trigger: `kind`: `monitor` where it is only looked at, else what a run was started by. `evidence` holds the verdict, where there
            is one.
        run: Id of the flow run.
        data_digest: Of the data that a retraining would learn from; None where it is not known yet.
    """
    situation = look(session, trigger, run, data_digest)
    decision = _decision(session, situation)
    verdict = verdict_of(trigger)
    row = TriggerRow(
        at=situation.now,
        asked_by=str(trigger["kind"]),
        run=run,
        action=decision.action,
        reason=decision.reason,
        verdict=situation.verdict,
        window=verdict.window_id if verdict else None,
        bundle=verdict.bundle if verdict else None,
        drift_since=verdict.drift_since if verdict else None,
        n_new_labels=None if situation.scheduled or verdict is None else situation.n_new_labels,
        dataset=data_digest,
        settings=settings_digest(session),
        conditions=decision.conditions,
    )
    add_row(session, row)
    return decision


def note_refusal(session: Session, record: RunRecord, *, same_settings: bool = True) -> None:
    """Keeps a refused attempt as a row, whoever started it: no event and no schedule tries these data under these settings again.

    Args:
        session: Of the workspace.
        record: Of the run.
        same_settings: Whether the candidate was made and judged under the session's configuration. Under another one it says nothing
            about what the session would do, so the row names no settings.
    """
    if record.outcome != "refused":
        return
    row = TriggerRow(
        at=record.finished,
        asked_by=record.trigger,
        run=record.run,
        action="refused",
        reason=record.reason,
        dataset=record.dataset,
        settings=settings_digest(session) if same_settings else None,
    )
    add_row(session, row)


@contextmanager
def failure_noted(session: Session, run: str, kind: str) -> Iterator[None]:
    """Keeps an error that ends the block as a row, whoever started the run, and raises it: the policy waits before the next.

    A run that is killed, cancelled or sent away to wait for a person has not failed; nor has one that others were ahead of, on the device
    for longer than it may wait or with a promotion.

    Args:
        session: Of the workspace.
        run: Id of the flow run.
        kind: What started it.
    """

    def note(_: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, Exception) and not isinstance(error, ConflictError):
            why = error.got[:_N_SHOWN] if isinstance(error, RegraftError) else "the run's log says more."
            row = TriggerRow(
                at=datetime.now(UTC),
                asked_by=kind,
                run=run,
                action="failed",
                reason=f"It failed ({type(error).__name__}): {why}",
                settings=settings_digest(session),
            )
            with suppress(OSError, RefusedError):  # a disk that is full is what ended the run, too
                add_row(session, row)

    with ExitStack() as stack:
        stack.push(note)
        yield


def settings_digest(session: Session) -> str:
    """Of how data are learned from and judged: whoever changes that may try the same data again. 16 hex digits."""
    content = session.config.model_dump(mode="json", include={*LEARNING_SECTIONS, "gates"})
    return hashlib.sha256(canonical_json(content)).hexdigest()[:16]


def look(session: Session, trigger: Mapping[str, Any], run: str = "", data_digest: str | None = None) -> Situation:
    """Everything that the policy looks at, as it is now; labels that wait are counted later, where it asks for any."""
    orders, found = read_orders(session), attempts(session)
    records = read_records(session.workspace, session.config.project)
    situation = Situation(
        now=datetime.now(UTC),
        learned_at=max((record.started for record in records if record.outcome != "skipped"), default=None),
        starts=_starts(records, found, run),
        running=_is_running(session, run, held=trigger["kind"] != ASKED_BY_MONITOR),
        refused_digests=frozenset(_refused_datasets(found, settings_digest(session))),
        data_digest=data_digest,
        stop=orders.stop,
        snooze=orders.snooze,
        scheduled=trigger["kind"] == _SCHEDULE,
    )
    verdict = verdict_of(trigger)
    if situation.scheduled or verdict is None:
        return situation
    new = count_new_labels(session, run)
    return replace(
        situation,
        verdict=verdict.verdict,
        harm=verdict.harm.harm if verdict.harm else None,
        harm_reason=verdict.harm.reason if verdict.harm else "",
        data_quality_problem=verdict.data_quality_problem,
        n_new_labels=new.n,
        n_drift_labels=_n_drift_labels(session, verdict, new),
        n_unlabelled=_n_unlabelled(session, found, run) if session.config.trigger.adapt_without_labels else 0,
    )


def _n_drift_labels(session: Session, verdict: Verdict, new: NewLabels) -> int | None:
    """Labels in the data count, too: they are there because somebody wanted them learned."""
    from pipelines.core.request_log import read_feedback

    if verdict.harm is None or next(read_feedback(session.workspace.serving / "log"), None) is None:
        return None
    return new.n_in_data + verdict.harm.n_labelled


def _decision(session: Session, situation: Situation) -> TriggerDecision:
    config = session.config.trigger
    decision = decide(situation, config)
    if decision.action != "ask_for_labels":
        return decision
    from pipelines.label_queue import label_queue_size

    # Read only here: it is one pass over the whole request log.
    serving = session.workspace.serving
    return decide(replace(situation, n_waiting_for_label=label_queue_size(serving / "log", serving / "raw")), config)


def verdict_of(trigger: Mapping[str, Any]) -> Verdict | None:
    """The verdict that a run was started for; None where its trigger holds none.

    Raises:
        DataError: It cannot be read.
    """
    from monitoring.verdict import Verdict

    evidence = trigger.get("evidence")
    content = evidence.get("verdict") if isinstance(evidence, Mapping) else None
    return None if content is None else Verdict.from_json(json.dumps(content))


def _starts(records: list[RunRecord], found: list[TriggerRow], run: str) -> tuple[Start, ...]:
    ended = {record.run for record in records}
    failed = {row.run: row.at for row in found if row.action == "failed"}
    first = {row.run: row.at for row in reversed(found) if _is_start(row)}
    others = ((name, at) for name, at in first.items() if not run or name != run)
    return tuple(Start(at, name in ended, None if name in ended else failed.get(name)) for name, at in others)


def _is_start(row: TriggerRow) -> bool:
    # An event's run that fails before the policy is asked (data that nobody has committed) leaves no other row.
    return row.asked_by in _EVENTS if row.action == "failed" else row.action in ("retrain", "adapt") and row.asked_by != _SCHEDULE


def _refused_datasets(found: list[TriggerRow], settings: str) -> Iterator[str]:
    # An adaptation learns from other inputs; that its candidate was refused says nothing about the labelled data.
    for row in found:
        if row.action == "refused" and row.asked_by != "adapt" and row.settings == settings and row.dataset is not None:
            yield row.dataset


def _is_running(session: Session, run: str, *, held: bool) -> bool:
    """A run holds the lock itself, so nobody else does; but another one may wait for a person, without the lock.

    One that nobody answered in time waits no more: the next run settles it, so it must not stand in that run's way.
    """
    now, project = datetime.now(UTC), session.config.project
    waiting = (pending.record for pending in all_pending(session.workspace) if now <= pending.deadline)
    waits = any(record.project == project and record.run != run for record in waiting)
    return waits or (not held and is_writing(session.workspace))


def _n_unlabelled(session: Session, found: list[TriggerRow], run: str) -> int:
    from pipelines.core.request_log import log_time, read_requests
    from pipelines.label_queue import read_labels

    log = session.workspace.serving / "log"
    adapted = [row.at for row in found if row.action == "adapt" and (not run or row.run != run)]
    since = log_time(max(adapted)) if adapted else ""
    labelled = {line["request_id"] for line in read_labels(log)}
    lines = (line for line in read_requests(log) if line["raw_sha256"] is not None and line["request_id"] not in labelled)
    return len({line["raw_sha256"] for line in lines if line["time"] > since})
