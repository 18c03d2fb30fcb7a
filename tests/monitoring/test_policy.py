from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from monitoring.harm import HarmName
from monitoring.policy import decide
from monitoring.trigger.decision import Action, TriggerDecision
from monitoring.trigger.orders import Snooze, Stop
from monitoring.trigger.situation import Situation, Start
from monitoring.verdict import VerdictName
from pipelines.config import TriggerSection

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
CONFIG = TriggerSection(min_new_labels=50, cooldown_minutes=60, max_retrainings_per_week=3)
READY = Situation(now=NOW, verdict="drift", harm="costs", n_new_labels=50)
STOP = Stop(at=NOW - timedelta(days=1), by="Ada", why="rebuilding")
SNOOZE = Snooze(at=NOW - timedelta(hours=1), by="Ada", why="audit", until=NOW + timedelta(hours=1))


def change(**items: Any) -> dict[str, Any]:
    return items


def decided(config: TriggerSection = CONFIG, **changes: Any) -> TriggerDecision:
    return decide(replace(READY, **changes), config)


def with_config(**changes: Any) -> TriggerSection:
    return CONFIG.model_copy(update=changes)


def ago(**time: float) -> datetime:
    return NOW - timedelta(**time)


def started(*minutes_ago: float, ended: bool = True) -> tuple[Start, ...]:
    return tuple(Start(ago(minutes=minutes), ended) for minutes in minutes_ago)


def test_where_nothing_stands_in_the_way_it_starts() -> None:
    decision = decided()
    assert (decision.action, decision.cause, decision.starts) == ("retrain", "drift", True)
    assert decision.reason == "Retraining starts: the window is drifted, and there are 50 new labels to learn from."
    failed = [condition.name for condition in decision.conditions if not condition.passed]
    assert failed == ["unlabelled"]


@pytest.mark.parametrize("verdict", ["ok", "drift", "degraded", "insufficient_data", None])
@pytest.mark.parametrize("n_new_labels", [0, 49, 50, 5_000])
def test_nothing_starts_without_something_to_learn_from(verdict: VerdictName | None, n_new_labels: int) -> None:
    decision = decided(verdict=verdict, n_new_labels=n_new_labels)
    calls = verdict in ("drift", "degraded")
    expected = ("retrain" if n_new_labels >= 50 else "ask_for_labels") if calls else "none"
    assert decision.action == expected


@pytest.mark.parametrize(("n_new_labels", "action"), [(199, "none"), (200, "retrain")])
@pytest.mark.parametrize("verdict", ["ok", "insufficient_data", None])
def test_enough_new_labels_do_without_drift_where_it_is_asked_for(verdict: VerdictName, n_new_labels: int, action: str) -> None:
    wanted = with_config(retrain_at_new_labels=200)
    decision = decided(wanted, verdict=verdict, harm=None, n_new_labels=n_new_labels)
    assert decision.action == action
    assert decision.cause == ("new_labels" if action == "retrain" else None)


@pytest.mark.parametrize(
    ("changes", "condition", "problem"),
    [
        (
            change(stop=STOP),
            "not_stopped",
            "stopped by Ada at 2026-04-30 12:00 UTC: rebuilding; `regraft trigger resume` ends it",
        ),
        (change(snooze=SNOOZE), "not_snoozed", "snoozed by Ada until 2026-05-01 13:00 UTC: audit"),
        (change(running=True), "none_running", "a retraining or an ingestion is under way, or a retraining waits for a person"),
        (
            change(starts=started(20)),
            "cooled_down",
            "the last one started at 2026-05-01 11:40 UTC; the cool-down ends at 2026-05-01 12:40 UTC",
        ),
        (
            change(starts=started(100, 3_000, 10_079)),
            "within_budget",
            "3 were started in the last seven days, and 3 are allowed; the next may at 2026-05-01 12:01 UTC",
        ),
        (
            change(data_digest="0123456789abcdef", refused_digests=frozenset({"0123456789abcdef"})),
            "untried_data",
            "a candidate of these very data (0123456789ab) was refused; it takes other data to get another answer",
        ),
    ],
)
def test_each_obstacle_alone_holds_it_back_and_is_named(changes: dict[str, Any], condition: str, problem: str) -> None:
    decision = decided(**changes)
    assert decision.action == "none"
    assert decision.reason == f"Not now, although the window is drifted: {problem}."
    (row,) = [item for item in decision.conditions if item.name == condition]
    assert (row.passed, row.problem) == (False, problem)
    assert [item.name for item in decision.conditions if not item.passed] == [condition, "unlabelled"]


def test_the_first_obstacle_is_named_and_every_one_is_shown() -> None:
    everything = change(stop=STOP, snooze=SNOOZE, running=True, starts=started(1, 2, 3), data_digest="a", refused_digests=frozenset("a"))
    decision = decided(**everything)
    assert "stopped by Ada" in decision.reason
    failed = [item.name for item in decision.conditions if not item.passed]
    assert failed == ["not_stopped", "not_snoozed", "none_running", "cooled_down", "within_budget", "untried_data", "unlabelled"]


@pytest.mark.parametrize(("minutes_ago", "action"), [(0, "none"), (59.9, "none"), (60, "retrain"), (600, "retrain")])
def test_cool_down(minutes_ago: float, action: str) -> None:
    assert decided(starts=started(minutes_ago)).action == action


def test_an_interrupted_retraining_goes_on_at_once_but_counts_for_the_budget() -> None:
    assert decided(starts=started(1, ended=False)).action == "retrain"
    no_wait = with_config(failure_cooldown_minutes=0)
    assert decided(no_wait, starts=started(1, 2, ended=False)).action == "retrain"
    assert decided(no_wait, starts=started(1, 2, 3, ended=False)).action == "none"


def failed(*minutes_ago: float) -> tuple[Start, ...]:
    """Each began an hour before it failed."""
    return tuple(Start(ago(minutes=minutes + 60), ended=False, failed_at=ago(minutes=minutes)) for minutes in minutes_ago)


PATIENT = CONFIG.model_copy(update={"max_retrainings_per_week": 100})


@pytest.mark.parametrize(
    ("starts", "ready_minutes_ago"),
    [
        (failed(90), 30),
        (failed(90, 500), -30),
        (failed(130, 500), 10),
        (failed(250, 500, 900), 10),
        (failed(250, 500, 900, 1_000), -230),
        (failed(90, 500) + started(300), 30),
        (failed(90) + started(300, ended=False), -30),
        (started(90, ended=False), 90),
        (started(90, 300, ended=False), -30),
        (started(90, 300, 500, ended=False) + started(400), -30),
        (failed(*range(600, 6_000, 60)), -840),
        (failed(*range(1_500, 6_900, 60)), 60),
    ],
)
def test_after_failures_it_waits_twice_as_long_each_time(starts: tuple[Start, ...], ready_minutes_ago: float) -> None:
    assert decided(PATIENT, starts=starts).action == ("retrain" if ready_minutes_ago >= 0 else "none")
    ready_at = ago(minutes=ready_minutes_ago)
    assert decided(PATIENT, starts=starts, now=ready_at).action == "retrain"
    if ready_minutes_ago < 0:
        assert decided(PATIENT, starts=starts, now=ready_at - timedelta(seconds=1)).action == "none"


def test_why_it_waits_after_failures() -> None:
    assert decided(starts=failed(20)).reason == (
        "Not now, although the window is drifted: the last failed at 2026-05-01 11:40 UTC; the next may at 2026-05-01 12:40 UTC,"
        " or after a `regraft retrain` that gets to its end."
    )
    decision = decided(starts=failed(20, 300))
    assert "2 failed in a row, the last at 2026-05-01 11:40 UTC; the next may at 2026-05-01 13:40 UTC" in decision.reason
    assert [item.name for item in decision.conditions if not item.passed] == ["recovered", "unlabelled"]


def test_a_run_that_got_to_its_end_ends_the_wait_whoever_started_it() -> None:
    assert decided(starts=failed(20, 300), learned_at=ago(minutes=90)).action == "none"
    assert decided(starts=failed(20, 300), learned_at=ago(minutes=10)).action == "retrain"


def test_no_wait_after_failures_where_it_is_zero() -> None:
    assert decided(with_config(failure_cooldown_minutes=0), starts=failed(0, 1)).action == "retrain"


def test_a_schedule_does_not_wait_and_an_adaptation_does() -> None:
    assert decide(Situation(now=NOW, scheduled=True, starts=failed(1)), CONFIG).action == "retrain"
    assert decided(ADAPTING, n_new_labels=0, n_unlabelled=200, starts=failed(1)).action == "none"


def test_what_fails_every_hour_is_tried_with_growing_pauses() -> None:
    """An alarm every hour for four weeks, and a training that fails after ten minutes."""
    starts: list[Start] = []
    for hour in range(24 * 28):
        now = NOW + timedelta(hours=hour)
        if decided(with_config(max_retrainings_per_week=7), now=now, starts=tuple(starts)).starts:
            starts.append(Start(now, ended=False, failed_at=now + timedelta(minutes=10)))
    pauses = [(later.at - sooner.at).total_seconds() / 3_600 for sooner, later in pairwise(starts)]
    assert pauses[:5] == [2, 3, 5, 9, 17]
    assert all(pause >= 24 for pause in pauses[5:])
    assert len(starts) <= 5 + 28


def test_no_cool_down_where_it_is_zero() -> None:
    assert decided(with_config(cooldown_minutes=0), starts=started(0)).action == "retrain"


@pytest.mark.parametrize(
    ("minutes_ago", "action"), [((100, 200, 10_079), "none"), ((100, 200, 10_080), "retrain"), ((100, 200), "retrain")]
)
def test_the_budget_is_of_any_seven_days(minutes_ago: tuple[float, ...], action: str) -> None:
    assert decided(starts=started(*minutes_ago)).action == action


@pytest.mark.parametrize(
    ("digest", "refused", "action"),
    [("aa", (), "retrain"), ("aa", ("aa",), "none"), ("aa", ("bb", "aa"), "none"), ("cc", ("aa",), "retrain"), (None, ("aa",), "retrain")],
)
def test_data_that_were_refused_are_not_tried_again(digest: str | None, refused: tuple[str, ...], action: str) -> None:
    assert decided(data_digest=digest, refused_digests=frozenset(refused)).action == action


def test_a_snooze_ends_by_itself_and_a_stop_does_not() -> None:
    assert decided(snooze=SNOOZE).action == "none"
    assert decided(snooze=SNOOZE, now=SNOOZE.until).action == "retrain"
    assert decided(stop=STOP, now=NOW + timedelta(days=10_000)).action == "none"


def test_broken_inputs_raise_an_alarm_and_start_nothing() -> None:
    decision = decided(data_quality_problem="200 of 200 requests show nothing.", n_new_labels=5_000)
    assert decision.action == "raise_data_quality_alarm"
    assert decision.reason == "The inputs are broken, so nothing is learned from them: 200 of 200 requests show nothing."
    adapting = with_config(adapt_without_labels=True)
    assert decided(adapting, data_quality_problem="Dark.", n_new_labels=0, n_unlabelled=9_999).action == "raise_data_quality_alarm"


@pytest.mark.parametrize(("harm", "action"), [("costs", "retrain"), ("unknown", "retrain"), (None, "retrain"), ("costs_nothing", "none")])
def test_drift_that_costs_nothing_starts_nothing(harm: HarmName | None, action: str) -> None:
    decision = decided(harm=harm, harm_reason="It costs next to nothing.", n_new_labels=500)
    assert decision.action == action
    if action == "none":
        assert decision.cause is None
        assert decision.reason == "The window is drifted, but nothing needs to be done. It costs next to nothing."


def test_unless_the_configuration_says_so() -> None:
    assert decided(with_config(on_harmless_drift=True), harm="costs_nothing").action == "retrain"


@pytest.mark.parametrize(
    ("n_waiting", "ending"),
    [
        (None, "; label requests of this window and feed them back."),
        (0, ", but no input without a label was kept; raise serving.sample_raw_frac."),
        (120, "; 120 kept inputs wait for one."),
    ],
)
def test_too_few_labels_are_asked_for(n_waiting: int | None, ending: str) -> None:
    decision = decided(n_new_labels=7, n_waiting_for_label=n_waiting, running=True)
    assert decision.action == "ask_for_labels"
    assert decision.reason == (
        f"Labels are asked for: the window is drifted, and there are 7 new labels of the 50 that make it worth while{ending}"
    )


ADAPTING = with_config(adapt_without_labels=True, min_unlabelled=200)


@pytest.mark.parametrize(
    ("config", "changes", "action"),
    [
        (ADAPTING, {}, "adapt"),
        (CONFIG, {}, "ask_for_labels"),
        (ADAPTING, {"n_unlabelled": 199}, "ask_for_labels"),
        (ADAPTING, {"n_new_labels": 50}, "retrain"),
        (ADAPTING, {"verdict": "degraded"}, "ask_for_labels"),
        (ADAPTING, {"harm": "costs_nothing"}, "none"),
        (ADAPTING.model_copy(update={"on_harmless_drift": True}), {"harm": "costs_nothing"}, "ask_for_labels"),
        (ADAPTING, {"stop": STOP}, "none"),
        (ADAPTING, {"snooze": SNOOZE}, "none"),
        (ADAPTING, {"running": True}, "none"),
        (ADAPTING, {"starts": started(20)}, "none"),
        (ADAPTING, {"starts": started(100, 200, 300)}, "none"),
        (ADAPTING, {"data_digest": "a", "refused_digests": frozenset("a")}, "adapt"),
    ],
)
def test_adapting(config: TriggerSection, changes: dict[str, Any], action: str) -> None:
    assert decided(config, **({"n_new_labels": 49, "n_unlabelled": 200} | changes)).action == action


@pytest.mark.parametrize(("n_starts", "n_needed"), [(0, 50), (1, 100), (2, 200), (4, 800)])
def test_where_the_cost_is_unknown_each_start_doubles_the_labels_of_the_next(n_starts: int, n_needed: int) -> None:
    patient = with_config(max_retrainings_per_week=100)
    before = started(*(1_000 * (number + 1) for number in range(n_starts)))
    for n_new, action in ((n_needed - 1, "ask_for_labels"), (n_needed, "retrain")):
        assert decided(patient, harm="unknown", n_new_labels=n_new, starts=before).action == action
    assert decided(patient, harm="costs", starts=before).action == "retrain"
    assert decided(patient, verdict="degraded", harm=None, starts=before).action == "retrain"
    forgotten = tuple(Start(start.at - timedelta(days=28)) for start in before)
    assert decided(patient, harm="unknown", starts=forgotten).action == "retrain"


@pytest.mark.parametrize(
    ("n_drift_labels", "harm", "action"),
    [(49, "costs", "ask_for_labels"), (50, "costs", "retrain"), (149, "unknown", "ask_for_labels"), (150, "unknown", "retrain")],
)
def test_labels_of_before_a_drift_teach_nothing_of_it(n_drift_labels: int, harm: HarmName, action: str) -> None:
    decision = decided(harm=harm, n_new_labels=5_000, n_drift_labels=n_drift_labels)
    assert decision.action == action
    if action == "ask_for_labels":
        assert f"there are {n_drift_labels} new labels of requests since the drift began of the" in decision.reason
    # A risen error rate is no drift, and labels that were learned from already are not new.
    assert decided(verdict="degraded", harm=None, n_new_labels=50).action == "retrain"
    assert decided(harm="costs", n_new_labels=49, n_drift_labels=400).action == "ask_for_labels"


def test_why_it_adapts() -> None:
    assert decided(ADAPTING, n_new_labels=3, n_unlabelled=200).reason == (
        "Adapting starts, without labels: the window is drifted and there are 3 new labels of the 50 that make it worth while;"
        " 200 unlabelled inputs were kept."
    )
    assert decided(ADAPTING, n_new_labels=3, n_unlabelled=200, running=True).reason.startswith("No adaptation now, although the window")


@pytest.mark.parametrize(
    ("changes", "action"),
    [
        ({}, "retrain"),
        ({"snooze": SNOOZE}, "retrain"),
        ({"starts": started(1, 2, 3, 4, 5)}, "retrain"),
        ({"n_new_labels": 0}, "retrain"),
        ({"stop": STOP}, "none"),
        ({"running": True}, "none"),
        ({"data_digest": "a", "refused_digests": frozenset("a")}, "none"),
    ],
)
def test_a_schedule_honours_a_stop_and_refused_data_but_no_pace(changes: dict[str, Any], action: str) -> None:
    situation = replace(Situation(now=NOW, scheduled=True), **changes)
    decision = decide(situation, CONFIG)
    assert (decision.action, decision.cause) == (action, "schedule")
    assert decision.reason.startswith(
        "Retraining starts: it is scheduled." if action == "retrain" else "Not now, although it is scheduled: "
    )


start_times = st.timedeltas(timedelta(0), timedelta(days=9)).map(lambda time: NOW - time)
situations = st.builds(
    Situation,
    now=st.just(NOW),
    verdict=st.sampled_from(["ok", "drift", "degraded", "insufficient_data", None]),
    harm=st.sampled_from(["costs", "costs_nothing", "unknown", None]),
    data_quality_problem=st.sampled_from([None, "Dark."]),
    n_new_labels=st.integers(0, 100),
    n_waiting_for_label=st.none() | st.integers(0, 100),
    n_unlabelled=st.integers(0, 400),
    starts=st.lists(st.builds(Start, start_times, st.booleans()) | start_times.map(lambda at: Start(at, ended=False, failed_at=at))).map(
        tuple
    ),
    learned_at=st.none() | start_times,
    running=st.booleans(),
    refused_digests=st.sampled_from([frozenset(), frozenset("a"), frozenset("ab")]),
    data_digest=st.sampled_from([None, "a", "c"]),
    stop=st.sampled_from([None, STOP]),
    snooze=st.sampled_from([None, SNOOZE]),
)


@given(situations, st.builds(TriggerSection, adapt_without_labels=st.booleans(), on_harmless_drift=st.booleans()))
def test_whatever_the_situation_nothing_starts_against_a_condition(situation: Situation, config: TriggerSection) -> None:
    """An oracle written anew: what no start may ever do."""
    decision = decide(situation, config)
    assert decision.action in get_args(Action)
    assert decision == decide(situation, config)
    if decision.starts:
        assert situation.data_quality_problem is None
        assert situation.stop is None
        assert situation.snooze is None
        assert not situation.running
        assert situation.verdict in ("drift", "degraded")
        assert sum(NOW - start.at < timedelta(days=7) for start in situation.starts) < config.max_retrainings_per_week
        assert all(NOW - start.at >= timedelta(minutes=60) for start in situation.starts if start.ended)
        ends = [start.at for start in situation.starts if start.ended] + [time for time in [situation.learned_at] if time is not None]
        row = [start.failed_at for start in situation.starts if not start.ended and all(start.at > end for end in ends)]
        wait_hours = min(24, 2 ** (len(row) - 1)) if row else 0
        assert all(NOW - time >= timedelta(hours=wait_hours) for time in row if time is not None)
    if decision.action == "retrain":
        assert situation.n_new_labels >= config.min_new_labels
        assert situation.data_digest is None or situation.data_digest not in situation.refused_digests
    if decision.action == "adapt":
        assert config.adapt_without_labels
        n_starts = sum(NOW - start.at < timedelta(days=28) for start in situation.starts)
        assert situation.n_new_labels < config.min_new_labels * (2**n_starts if situation.harm == "unknown" else 1)
        assert situation.harm != "costs_nothing"
        assert situation.n_unlabelled >= config.min_unlabelled
    if situation.data_quality_problem is not None:
        assert decision.action == "raise_data_quality_alarm"


def test_a_threshold_without_drift_below_the_least_is_refused() -> None:
    with pytest.raises(ValidationError, match=r"retrain_at_new_labels is 10, less than min_new_labels \(50\).*raise it, or lower"):
        TriggerSection(min_new_labels=50, retrain_at_new_labels=10)


def test_a_thousand_alerts_start_one() -> None:
    """Each call sees what the one before left behind, as under the workspace's lock."""
    starts: list[Start] = []
    for minute in range(1_000):
        now = NOW + timedelta(seconds=minute)
        if decided(now=now, starts=tuple(starts)).starts:
            starts.append(Start(now))
    assert len(starts) == 1
