"""Looks at one test set: which count, when they are used up, and what all of them together may promote."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binom

from pipelines.config import BeatsChampionGate, GoldensGate, LatencyGate, MinMetricGate, TestReuseGate
from pipelines.core.errors import IntegrityError
from pipelines.gates.beats_champion import Champion
from pipelines.gates.decision import Decision, Judgement
from pipelines.gates.judge import judge
from pipelines.gates.sample_sketch import SampleSketch, sketch_of
from pipelines.gates.test_reuse import Look, PastLooks, error_of_one_look, limited_looks, past_looks, spread_error
from pipelines.paired_exact import difference_p_value


def ids(start: int, stop: int) -> list[str]:
    return [f"sample {number}" for number in range(start, stop)]


def looks(test_sets: Sequence[SampleSketch], error: float = 0.05) -> PastLooks:
    return PastLooks(tuple(Look(f"{number:016x}", test_set, error) for number, test_set in enumerate(test_sets)))


def decide(max_looks: int, today: SampleSketch, past: PastLooks) -> Decision:
    return limited_looks(TestReuseGate(kind="test_reuse", max_looks=max_looks), today, past, 0.05)


def test_the_last_allowed_look_passes_and_the_next_does_not() -> None:
    today = sketch_of(ids(0, 50))
    last, next_ = decide(5, today, looks([today] * 4)), decide(5, today, looks([today] * 5))
    assert (last.outcome, last.statistic, last.n) == ("pass", 5, 50)
    assert (next_.outcome, next_.statistic, next_.threshold) == ("insufficient_data", 6, 5)
    assert next_.reason.endswith("Label at least 51 new test samples.")


def test_the_chances_of_all_looks_add_up() -> None:
    today = sketch_of(ids(0, 50))
    decision = decide(9, today, looks([today] * 6))
    assert decision.detail["error_of_all_looks"] == pytest.approx(0.35)
    assert "candidate number 7 on mostly these 50 test samples" in decision.reason
    assert "promoted and deserved a refusal is 35 % at most" in decision.reason
    assert decide(99, today, looks([today] * 60)).detail["error_of_all_looks"] == 1


def test_looks_at_other_samples_do_not_count() -> None:
    today = sketch_of(ids(0, 60))
    half, less = sketch_of(ids(0, 30)), sketch_of(ids(0, 29))
    decision = decide(2, today, looks([half, less, less, sketch_of(ids(100, 160))]))
    assert (decision.outcome, decision.detail["n_looks"], decision.detail["n_other_test_sets"]) == ("pass", 2, 3)


def test_one_bundle_is_one_look() -> None:
    today = sketch_of(ids(0, 60))
    twice = PastLooks((Look("a", today, 0.05), Look("a", today, 0.05), Look("a", sketch_of(ids(90, 95)), 0.01)))
    assert decide(2, today, twice).detail["n_looks"] == 2


@pytest.mark.parametrize("max_looks", [1, 2, 4])
@pytest.mark.parametrize("sizes", [(20, 20, 20, 20), (12, 14, 17, 20), (11, 11, 19, 20)])
def test_the_samples_it_asks_for_are_as_many_as_are_needed(max_looks: int, sizes: tuple[int, ...]) -> None:
    """Test sets that grow: with so many new ones the next candidate passes, with one fewer it does not."""
    today = sketch_of(ids(0, 20))
    past = looks([sketch_of(ids(0, size)) for size in sizes])
    refused = decide(max_looks, today, past)
    assert refused.outcome == "insufficient_data"
    n_new = refused.detail["new_samples_for_the_next_look"]
    assert f"at least {n_new} new" in refused.reason
    after = PastLooks((*past.looks, Look("f" * 16, today, 0.05)))  # this judgement is a look, too
    assert decide(max_looks, sketch_of(ids(0, 20 + n_new)), after).outcome == "pass"
    assert decide(max_looks, sketch_of(ids(0, 20 + n_new - 1)), after).outcome == "insufficient_data"
    fresh = sketch_of(ids(0, 20 + refused.detail["new_samples_for_a_new_test_set"]))
    assert decide(max_looks, fresh, after).detail["n_looks"] == 1


def recorded(test_set: SampleSketch | None, *levels: float, gate: str = "min_metric") -> dict[str, object]:
    decisions = [
        Decision(gate=gate, condition=f"c{level}", outcome="refuse", statistic=None, level=level, n=9, reason="because.")  # type: ignore[arg-type]
        for level in levels
    ]
    return {"dataset": "0.dir", "bundle": "x", **Judgement.of(decisions, test_set=test_set).model_dump(mode="json")}


def test_looks_are_read_from_recorded_judgements() -> None:
    today = sketch_of(ids(0, 20))
    judgements = [("a", recorded(today, 0.95, 0.9)), ("b", recorded(None, 0.95)), ("me", recorded(today, 0.9)), ("a", recorded(None, 0.9))]
    past = past_looks(judgements, "me")
    assert [(look.bundle_id, look.test_set, pytest.approx(look.error)) for look in past.looks] == [("a", today, 0.1)]
    assert past.n_unknown == 1
    assert "1 candidates were judged before test sets were recorded" in decide(3, today, past).reason


def test_latency_is_not_read_off_the_test_samples() -> None:
    (look,) = past_looks([("a", recorded(sketch_of(ids(0, 9)), 0.6, gate="latency_p95_ms"))], "me").looks
    assert look.error == 0


def test_a_judgement_that_was_changed_is_seen() -> None:
    content = recorded(sketch_of(ids(0, 20)), 0.95) | {"promote": True}
    with pytest.raises(IntegrityError, match=r"judgement on the bundle a in git.*changed by hand"):
        past_looks([("a", content)], "me")
    with pytest.raises(IntegrityError, match="judgement on the bundle a in git"):
        past_looks([("a", content | {"promote": False, "test_set": {"n": 3}})], "me")


MIN = MinMetricGate(kind="min_metric", floor=0.5, level=0.9)
BEATS = BeatsChampionGate(kind="beats_champion", without_champion="refuse")
LATENCY = LatencyGate(kind="latency_p95_ms", limit_ms=100, level=0.6)
GOLDENS = GoldensGate(kind="goldens")


def test_the_error_of_a_look_is_that_of_the_laxest_test() -> None:
    assert error_of_one_look([BEATS, MIN, LATENCY, GOLDENS]) == pytest.approx(0.1)
    assert error_of_one_look([GOLDENS]) == 0


def test_the_error_is_spread_over_the_looks_where_the_conf_file_says_so() -> None:
    for spread, levels in ((False, [0.95, 0.9]), (True, [0.995, 0.99])):
        gates = spread_error([BEATS, MIN, GOLDENS, LATENCY, TestReuseGate(kind="test_reuse", max_looks=10, spread=spread)])
        assert [gate.level for gate in gates[:2]] == pytest.approx(levels)  # type: ignore[union-attr]
        assert gates[3].level == 0.6  # type: ignore[union-attr]


def test_judge_counts_and_records_the_test_set(answers, tmp_path: Path) -> None:
    candidate = answers(np.arange(450) < 430)
    today = sketch_of(candidate.ids.tolist())
    reuse = TestReuseGate(kind="test_reuse", max_looks=2, spread=True)
    champion = Champion(answers(np.arange(450) < 430), ("cat",))
    first = judge([reuse, BEATS], candidate=candidate, bundle=tmp_path, champion=champion, past=looks([today], 0.025))
    assert (first.promote, first.test_set) == (True, today)
    assert [decision.level for decision in first.decisions] == [None, 0.975]
    assert first.decisions[0].detail["error_of_all_looks"] == pytest.approx(0.05)
    third = judge([reuse, BEATS], candidate=candidate, bundle=tmp_path, champion=champion, past=looks([today, today]))
    assert [decision.outcome for decision in third.decisions] == ["insufficient_data", "pass"]
    assert Judgement.model_validate_json(third.model_dump_json()) == third


def n_with_a_wrong_promotion(n_candidates: int, level: float, n_draws: int, seed: int) -> int:
    """Of `n_draws` test sets of 300, on how many at least one of the candidates passes, each worse than the champion by the margin."""
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(300, [0.02, 0.05, 0.93], (n_draws, n_candidates))[..., :2]
    distinct, place = np.unique(counts.reshape(-1, 2), axis=0, return_inverse=True)
    passes = np.array([difference_p_value(wins, losses, 300, -0.03) <= 1 - level for wins, losses in distinct.tolist()])
    return int(passes[place].reshape(n_draws, n_candidates).any(axis=1).sum())


def test_all_looks_together_keep_the_level_where_it_is_spread() -> None:
    n_draws = 2_000
    (beats,) = spread_error([BEATS, TestReuseGate(kind="test_reuse", max_looks=10, spread=True)])[:1]
    assert n_with_a_wrong_promotion(10, beats.level, n_draws, 1) <= binom.isf(1e-5, n_draws, 0.05)  # type: ignore[union-attr]
    # Without it the bound is that of the decision: 10 looks of 5 % each, and much of it is used.
    not_spread = n_with_a_wrong_promotion(10, 0.95, n_draws, 1)
    assert binom.isf(1e-5, n_draws, 0.05) < not_spread <= binom.isf(1e-5, n_draws, 0.5)
