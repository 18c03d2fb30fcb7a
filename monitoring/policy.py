"""Whether a retraining starts, or what is done instead. Pure: all that it looks at is an argument.

Drift alone never retrains: without new labels the same data would give the same model again.
"""

from __future__ import annotations

from monitoring.trigger import conditions as look_at
from monitoring.trigger.decision import Action, Cause, Condition, TriggerDecision
from monitoring.trigger.situation import Situation
from pipelines.config import TriggerSection

__all__ = ["decide"]

# In the order in which the first obstacle is named. A schedule is a person's plan: neither quiet nor a pace is asked of it.
_OBSTACLES = ("not_stopped", "not_snoozed", "none_running", "cooled_down", "recovered", "within_budget", "untried_data")
_OBSTACLES_OF_A_SCHEDULE = ("not_stopped", "none_running", "untried_data")
# Adapting learns from other inputs than the labelled data that were refused; the pace is kept by `enough_unlabelled`.
_OBSTACLES_OF_ADAPTING = ("not_stopped", "not_snoozed", "none_running", "cooled_down", "recovered", "within_budget")


def decide(situation: Situation, config: TriggerSection) -> TriggerDecision:
    """Decides, with the first that applies.

    1. Broken inputs: an alarm, and nothing is learned from them.
    2. Nothing calls for it (no harmful drift, no risen error rate, not enough new labels to do without): none.
    3. Enough new labels: retrain, unless an obstacle stands in the way.
    4. Harmful drift, too few labels, adapting asked for and enough unlabelled inputs: adapt, with the same obstacles.
    5. Too few labels: ask for them.

    A scheduled retraining needs neither cause nor new labels; it honours a stop, one that runs, and data that were refused.

    Args:
        situation: What was found.
        config: What is asked for.

    Returns:
        The decision, with every condition; its reason names the first obstacle.
    """
    cause = _cause(situation, config)
    found = _conditions(situation, cause, config)
    action, reason = _choice(situation, cause, config, {condition.name: condition for condition in found})
    return TriggerDecision(action=action, reason=reason, cause=cause, conditions=found)


def _cause(situation: Situation, config: TriggerSection) -> Cause | None:
    if situation.scheduled:
        return "schedule"
    if situation.verdict == "degraded":
        return "degraded"
    if situation.verdict == "drift" and (config.on_harmless_drift or not situation.is_harmless):
        return "drift"
    enough = config.retrain_at_new_labels is not None and situation.n_new_labels >= config.retrain_at_new_labels
    return "new_labels" if enough else None


def _conditions(situation: Situation, cause: Cause | None, config: TriggerSection) -> tuple[Condition, ...]:
    if situation.scheduled:
        return (look_at.not_stopped(situation), look_at.none_running(situation), look_at.untried_data(situation))
    return (
        look_at.intact_inputs(situation),
        look_at.cause(situation, cause, config),
        look_at.enough_labels(situation, config),
        look_at.not_stopped(situation),
        look_at.not_snoozed(situation),
        look_at.none_running(situation),
        look_at.cooled_down(situation, config),
        look_at.recovered(situation, config),
        look_at.within_budget(situation, config),
        look_at.untried_data(situation),
        look_at.enough_unlabelled(situation, config),
    )


def _choice(situation: Situation, cause: Cause | None, config: TriggerSection, found: dict[str, Condition]) -> tuple[Action, str]:
    if cause == "schedule":
        obstacle = _obstacle(found, _OBSTACLES_OF_A_SCHEDULE)
        return (
            ("none", f"Not now, although it is scheduled: {obstacle}.") if obstacle else ("retrain", "Retraining starts: it is scheduled.")
        )
    if not found["intact_inputs"].passed:
        return "raise_data_quality_alarm", f"The inputs are broken, so nothing is learned from them: {situation.data_quality_problem}"
    if cause is None:
        return "none", _nothing_calls(situation, config)
    if found["new_labels"].passed:
        return _retrain(situation, cause, _obstacle(found, _OBSTACLES))
    if cause == "drift" and not situation.is_harmless and found["unlabelled"].passed:
        return _adapt(situation, config, _obstacle(found, _OBSTACLES_OF_ADAPTING))
    return "ask_for_labels", _labels_wanted(situation, config)


def _obstacle(found: dict[str, Condition], names: tuple[str, ...]) -> str | None:
    return next((found[name].problem for name in names if not found[name].passed), None)


def _nothing_calls(situation: Situation, config: TriggerSection) -> str:
    if situation.is_harmless:
        return f"The window is drifted, but nothing needs to be done. {situation.harm_reason}".rstrip()
    if situation.verdict is None:
        return "Nothing calls for it: no window was judged, so no labels were counted."
    return f"Nothing calls for it: the window is {look_at.window_in_words(situation)}; {situation.n_new_labels} new labels wait."


def _retrain(situation: Situation, cause: Cause, obstacle: str | None) -> tuple[Action, str]:
    called_by = "enough new labels have come in" if cause == "new_labels" else f"the window is {look_at.window_in_words(situation)}"
    if obstacle:
        return "none", f"Not now, although {called_by}: {obstacle}."
    return "retrain", f"Retraining starts: {called_by}, and there are {situation.n_new_labels} new labels to learn from."


def _adapt(situation: Situation, config: TriggerSection, obstacle: str | None) -> tuple[Action, str]:
    why = f"the window is drifted and {look_at.labels_in_words(situation, config)}"
    if obstacle:
        return "none", f"No adaptation now, although {why}: {obstacle}."
    return "adapt", f"Adapting starts, without labels: {why}; {situation.n_unlabelled} unlabelled inputs were kept."


def _labels_wanted(situation: Situation, config: TriggerSection) -> str:
    why = f"the window is {look_at.window_in_words(situation)}, and {look_at.labels_in_words(situation, config)}"
    if situation.n_waiting_for_label is None:
        return f"Labels are asked for: {why}; label requests of this window and feed them back."
    if situation.n_waiting_for_label == 0:
        return f"Labels are asked for: {why}, but no input without a label was kept; raise serving.sample_raw_frac."
    return f"Labels are asked for: {why}; {situation.n_waiting_for_label} kept inputs wait for one."
