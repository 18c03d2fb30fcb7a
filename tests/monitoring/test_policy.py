from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from monitoring.harm import Harm, HarmName
from monitoring.policy import TriggerDecision, decide_retraining
from monitoring.quality import AccuracyLoss
from monitoring.verdict import Verdict, VerdictName
from pipelines.config import TriggerSection

NOW = datetime(2026, 5, 1, 12, 0, tzinfo=UTC)
CONFIG = TriggerSection(min_new_labels=50, cooldown_minutes=60)


def verdict(name: VerdictName, harm: HarmName | None = None) -> Verdict:
    return Verdict(
        harm=None if harm is None else as_harm(harm),
        verdict=name,
        reason="",
        bundle="b",
        window_id="w",
        n_requests=200,
        n_needed=100,
        n_reference=500,
        first_at=None,
        last_at=None,
        n_malformed=0,
        problems=(),
        level=0.01,
        false_alarms_per_year=1,
        seed=0,
        signals=(),
        quality=None,
        where=None,
    )


def as_harm(name: HarmName) -> Harm:
    loss = AccuracyLoss(value=0, low=-0.01, high=0.01)
    return Harm(harm=name, basis="estimates", loss=loss, harmful_loss_frac=0.05, reason=f"By confidence: {name}.")


def decide(
    name: VerdictName = "drift",
    n_new_labels: int = 50,
    minutes_ago: float | None = None,
    running: bool = False,
    refused: tuple[str, ...] = (),
    digest: str | None = None,
    config: TriggerSection = CONFIG,
    harm: HarmName | None = None,
) -> TriggerDecision:
    last = None if minutes_ago is None else NOW - timedelta(minutes=minutes_ago)
    return decide_retraining(verdict(name, harm), n_new_labels, last, running, refused, NOW, config, data_digest=digest)


@pytest.mark.parametrize("name", ["ok", "drift", "degraded", "insufficient_data"])
@pytest.mark.parametrize("n_new_labels", [0, 49, 50, 500])
def test_nothing_starts_without_something_to_learn_from(name: VerdictName, n_new_labels: int) -> None:
    decision = decide(name, n_new_labels)
    assert decision.start == (n_new_labels >= 50)
    if not decision.start:
        assert f"{n_new_labels} new labels of the 50" in decision.reason


@pytest.mark.parametrize(
    ("name", "n_new_labels", "cause"),
    [
        ("drift", 50, "drift"),
        ("drift", 0, "drift"),
        ("degraded", 50, "degraded"),
        ("degraded", 3, "degraded"),
        ("ok", 50, "new_labels"),
        ("insufficient_data", 50, "new_labels"),
        ("ok", 49, None),
        ("insufficient_data", 0, None),
    ],
)
def test_cause(name: VerdictName, n_new_labels: int, cause: str | None) -> None:
    assert decide(name, n_new_labels).cause == cause


@pytest.mark.parametrize(("minutes_ago", "start"), [(None, True), (0, False), (59.9, False), (60, True), (600, True)])
def test_cool_down(minutes_ago: float | None, start: bool) -> None:
    assert decide(minutes_ago=minutes_ago).start is start


def test_no_cool_down_where_it_is_zero() -> None:
    assert decide(minutes_ago=0, config=TriggerSection(min_new_labels=50, cooldown_minutes=0)).start


@pytest.mark.parametrize(
    ("digest", "refused", "start"),
    [("aa", (), True), ("aa", ("aa",), False), ("aa", ("bb", "aa"), False), ("cc", ("aa",), True), (None, ("aa",), True)],
)
def test_data_that_were_refused_are_not_tried_again(digest: str | None, refused: tuple[str, ...], start: bool) -> None:
    assert decide(digest=digest, refused=refused).start is start


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({}, "Retraining starts: the window is drifted, and there are 50 new labels to learn from."),
        ({"name": "ok"}, "Retraining starts: enough new labels have come in, and there are 50 new labels to learn from."),
        (
            {"n_new_labels": 7},
            "Not now, although the window is drifted: there are 7 new labels of the 50 that make it worth while;"
            " label requests of this window and feed them back.",
        ),
        ({"running": True, "minutes_ago": 1}, "Not now, although the window is drifted: a retraining is under way."),
        (
            {"name": "degraded", "minutes_ago": 20},
            "Not now, although the window is degraded: the last one started at 2026-05-01 11:40 UTC; the cool-down ends at 12:40 UTC.",
        ),
        (
            {"digest": "0123456789abcdef", "refused": ("0123456789abcdef",)},
            "Not now, although the window is drifted: a candidate of these very data (0123456789ab) was refused;"
            " it takes other data to get another answer.",
        ),
        (
            {"name": "ok", "n_new_labels": 7},
            "Nothing calls for it: the window is unchanged and there are 7 new labels of the 50 that make it worth while.",
        ),
    ],
)
def test_reasons(arguments: dict[str, object], reason: str) -> None:
    assert decide(**arguments).reason == reason  # type: ignore[arg-type]


@pytest.mark.parametrize(("harm", "start"), [("costs", True), ("unknown", True), (None, True), ("costs_nothing", False)])
def test_drift_that_costs_nothing_starts_nothing(harm: HarmName | None, start: bool) -> None:
    decision = decide(harm=harm, n_new_labels=500)
    assert decision.start is start
    if not start:
        assert decision.cause is None
        assert decision.reason == "The window is drifted, but nothing needs to be done. By confidence: costs_nothing."


def test_unless_the_configuration_says_so() -> None:
    wanted = TriggerSection(min_new_labels=50, cooldown_minutes=60, on_harmless_drift=True)
    assert decide(harm="costs_nothing", config=wanted).start
