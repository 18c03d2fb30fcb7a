"""The conditions of a decision, one function each; every one is looked at, so that a row can show all of them."""

from __future__ import annotations

from datetime import timedelta

from monitoring.trigger.decision import Cause, Condition
from monitoring.trigger.situation import Situation, Start
from pipelines.config import TriggerSection

WEEK = timedelta(days=7)
# Where it is unknown whether drift costs anything, each start in so many days doubles the labels that the next one takes: the reference
# of a model that has just learned a domain holds little of it, so its windows are drift for long, and retrainings would never end.
BACK_OFF = timedelta(days=28)
# A window of a drift may pass its tests by chance; after so long without one that fails them, the next begins another drift.
DRIFT_ENDS_AFTER = timedelta(days=1)
# What made retrainings fail may be put right from outside; a day later one of them finds out.
_LONGEST_FAILURE_COOLDOWN_MINUTES = 1_440.0
_MOST_DOUBLINGS = 20
_TIME = "%Y-%m-%d %H:%M"
_N_DIGITS = 12


def intact_inputs(situation: Situation) -> Condition:
    """Inputs of a broken camera say nothing about the domain, and their labels teach nothing."""
    problem = situation.data_quality_problem
    return _condition("intact_inputs", problem or "no alarm", "no data-quality alarm", problem or "")


def cause(situation: Situation, found: Cause | None, config: TriggerSection) -> Condition:
    """Something calls for a retraining."""
    names = {"drift": "drift", "degraded": "a risen error rate", "new_labels": "new labels", "schedule": "the schedule", None: "nothing"}
    allowed = "harmful drift, a risen error rate" if not config.on_harmless_drift else "drift, a risen error rate"
    if config.retrain_at_new_labels is not None:
        allowed += f", {config.retrain_at_new_labels} new labels"
    return _condition("cause", names[found], allowed, "" if found else f"nothing calls for it: the window is {window_in_words(situation)}")


# Where labels are fed back and those of the drift do not say yet what it costs, the first start waits until they can: with so many times
# the labels that it takes anyway, the interval of a loss of nothing is below five points.
_TIMES_UNTIL_KNOWN = 3


def labels_that_count(situation: Situation) -> int:
    """Labels of before a drift teach nothing of it."""
    return situation.n_new_labels if situation.n_drift_labels is None else min(situation.n_new_labels, situation.n_drift_labels)


def labels_needed(situation: Situation, config: TriggerSection) -> int:
    """`min_new_labels`; where the cost of drift is unknown, more.

    Twice as many for each start in the last 28 days, and three times as many where labels are fed back.
    """
    if situation.verdict != "drift" or situation.harm != "unknown":
        return config.min_new_labels
    n_starts = sum(situation.now - start.at < BACK_OFF for start in situation.starts)
    least = config.min_new_labels * (1 if situation.n_drift_labels is None else _TIMES_UNTIL_KNOWN)
    return int(least * 2 ** min(n_starts, _MOST_DOUBLINGS))


def enough_labels(situation: Situation, config: TriggerSection) -> Condition:
    """The same data would only give the same model again."""
    n_new, n_needed = labels_that_count(situation), labels_needed(situation, config)
    problem = "" if n_new >= n_needed else labels_in_words(situation, config)
    return _condition("new_labels", str(n_new), f"at least {n_needed}", problem)


def not_stopped(situation: Situation) -> Condition:
    """Nobody stopped it; only a person's word ends a stop."""
    stop = situation.stop
    if stop is None:
        return _condition("not_stopped", "no", "no stop", "")
    problem = f"stopped{_by(stop.by)} at {stop.at:{_TIME}} UTC: {stop.why}; `regraft trigger resume` ends it"
    return _condition("not_stopped", f"since {stop.at:{_TIME}} UTC", "no stop", problem)


def not_snoozed(situation: Situation) -> Condition:
    """Nobody asked for quiet, or the quiet is over."""
    snooze = situation.snooze
    if snooze is None or situation.now >= snooze.until:
        return _condition("not_snoozed", "no", "no snooze", "")
    problem = f"snoozed{_by(snooze.by)} until {snooze.until:{_TIME}} UTC: {snooze.why}"
    return _condition("not_snoozed", f"until {snooze.until:{_TIME}} UTC", "no snooze", problem)


def none_running(situation: Situation) -> Condition:
    """One at a time."""
    problem = "a retraining or an ingestion is under way, or a retraining waits for a person" if situation.running else ""
    return _condition("none_running", "one is" if situation.running else "none is", "none is under way", problem)


def cooled_down(situation: Situation, config: TriggerSection) -> Condition:
    """Of those that got to an outcome; `recovered` is about the others."""
    ended = [start.at for start in situation.starts if start.ended]
    limit = f"{config.cooldown_minutes:g} minutes since the last"
    if not ended:
        return _condition("cooled_down", "none before", limit, "")
    last = max(ended)
    ready_at = last + timedelta(minutes=config.cooldown_minutes)
    problem = f"the last one started at {last:{_TIME}} UTC; the cool-down ends at {ready_at:{_TIME}} UTC"
    return _condition("cooled_down", f"the last started at {last:{_TIME}} UTC", limit, problem if situation.now < ready_at else "")


def recovered(situation: Situation, config: TriggerSection) -> Condition:
    """What failed fails again while its cause is there. One that was killed says nothing yet; a second one in a row does."""
    failed, minutes = _failed_in_a_row(situation), config.failure_cooldown_minutes
    limit = f"{minutes:g} minutes since the last failure, doubled for each in a row before it"
    if not failed or (len(failed) == 1 and failed[0].failed_at is None):
        return _condition("recovered", "one was interrupted" if failed else "none failed", limit, "")
    longest = max(minutes, _LONGEST_FAILURE_COOLDOWN_MINUTES)
    last = max(start.failed_at or start.at for start in failed)
    ready_at = last + timedelta(minutes=min(longest, minutes * 2 ** min(len(failed) - 1, _MOST_DOUBLINGS)))
    which = "the last failed" if len(failed) == 1 else f"{len(failed)} failed in a row, the last"
    found = f"{which} at {last:{_TIME}} UTC"
    problem = f"{found}; the next may at {ready_at:{_TIME}} UTC, or after a `regraft retrain` that gets to its end"
    return _condition("recovered", found, limit, problem if situation.now < ready_at else "")


def _failed_in_a_row(situation: Situation) -> list[Start]:
    """Starts without an outcome since the last one that got to one."""
    outcomes = [start.at for start in situation.starts if start.ended]
    if situation.learned_at is not None:
        outcomes.append(situation.learned_at)
    since = max(outcomes, default=None)
    return [start for start in situation.starts if not start.ended and (since is None or start.at > since)]


def within_budget(situation: Situation, config: TriggerSection) -> Condition:
    """Interrupted ones count, so that one which always crashes ends here."""
    recent = sorted(start.at for start in situation.starts if situation.now - start.at < WEEK)
    most = config.max_retrainings_per_week
    problem = ""
    if len(recent) >= most:
        free_at = recent[-most] + WEEK
        problem = f"{len(recent)} were started in the last seven days, and {most} are allowed; the next may at {free_at:{_TIME}} UTC"
    return _condition("within_budget", f"{len(recent)} in seven days", f"fewer than {most}", problem)


def untried_data(situation: Situation) -> Condition:
    """Data whose candidate was refused give that candidate again."""
    digest = situation.data_digest
    if digest is None:
        return _condition("untried_data", "not put together yet", "not refused before", "")
    shown = digest[:_N_DIGITS]
    problem = f"a candidate of these very data ({shown}) was refused; it takes other data to get another answer"
    return _condition("untried_data", shown, "not refused before", problem if digest in situation.refused_digests else "")


def enough_unlabelled(situation: Situation, config: TriggerSection) -> Condition:
    """Adapting is asked for, and there is something to adapt to."""
    limit = f"at least {config.min_unlabelled}"
    if not config.adapt_without_labels:
        return _condition("unlabelled", "not asked for", limit, "adapt_without_labels is off")
    n_found = situation.n_unlabelled
    problem = f"{n_found} raw inputs were kept since the last adaptation, and {config.min_unlabelled} make one worth while"
    return _condition("unlabelled", str(n_found), limit, problem if n_found < config.min_unlabelled else "")


def window_in_words(situation: Situation) -> str:
    """The verdict in a sentence."""
    names = {"ok": "unchanged", "drift": "drifted", "degraded": "degraded", "insufficient_data": "too small to judge", None: "not judged"}
    return names[situation.verdict]


def labels_in_words(situation: Situation, config: TriggerSection) -> str:
    """How many there are of how many."""
    of_the_drift = "" if situation.n_drift_labels is None else " of requests since the drift began"
    n_found, n_needed = labels_that_count(situation), labels_needed(situation, config)
    return f"there are {n_found} new labels{of_the_drift} of the {n_needed} that make it worth while"


def _by(name: str) -> str:
    return f" by {name}" if name else ""


def _condition(name: str, value: str, limit: str, problem: str) -> Condition:
    return Condition(name=name, value=value, limit=limit, passed=not problem, problem=problem)
