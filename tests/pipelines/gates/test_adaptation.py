from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import pytest
from scipy import stats

from pipelines.answers import TestAnswers
from pipelines.baselines import Baseline
from pipelines.config import AdaptationGate, ProjectConfig
from pipelines.core.errors import DataError
from pipelines.gates.adaptation import adaptation
from pipelines.plain_training import PlainTraining

RULE = AdaptationGate()


def answers(right: Sequence[bool], ids: Sequence[str] | None = None) -> TestAnswers:
    n = len(right)
    names = np.array(ids if ids is not None else [f"{number:05d}" for number in range(n)])
    labels = np.array(["a"] * n)
    predicted = np.where(np.asarray(right), "a", "b")
    return TestAnswers(names, np.array(["till-2"] * n), labels, predicted, np.full(n, 0.9))


def evidence(plain: TestAnswers | None, target: Sequence[str], state: str = "trained") -> PlainTraining:
    why = "no memory" if state == "failed" else ""
    return PlainTraining(Baseline(state, why, plain), frozenset(target), ("till-2",))  # type: ignore[arg-type]


def flips(n_wins: int, n_losses: int, n: int) -> tuple[TestAnswers, TestAnswers]:
    candidate = [True] * n_wins + [False] * n_losses + [True] * (n - n_wins - n_losses)
    plain = [False] * n_wins + [True] * n_losses + [True] * (n - n_wins - n_losses)
    return answers(candidate), answers(plain)


@pytest.mark.parametrize(("n_wins", "n_losses"), [(12, 2), (5, 0), (4, 0), (6, 5), (5, 5), (2, 9)])
def test_the_exact_test_on_the_target_decides(n_wins: int, n_losses: int) -> None:
    candidate, plain = flips(n_wins, n_losses, 60)
    decision = adaptation(RULE, candidate, evidence(plain, candidate.ids.tolist()))
    p_value = float(stats.binomtest(n_wins, n_wins + n_losses, alternative="greater").pvalue)
    assert decision.p_value == pytest.approx(p_value)
    assert (decision.outcome == "pass") == (p_value <= 0.05)
    assert decision.n == 60
    assert decision.statistic == pytest.approx((n_wins - n_losses) / 60)


def test_only_samples_of_the_target_count() -> None:
    """Ten wins elsewhere and none on the target: no pass."""
    candidate, plain = flips(10, 0, 100)
    elsewhere = adaptation(RULE, candidate, evidence(plain, candidate.ids[10:].tolist()))
    assert (elsewhere.outcome, elsewhere.n, elsewhere.statistic) == ("refuse", 90, 0.0)
    assert adaptation(RULE, candidate, evidence(plain, candidate.ids[:50].tolist())).outcome == "pass"


@pytest.mark.parametrize("n_target", [0, 1, 29])
def test_too_few_labels_of_the_target_never_promote(n_target: int) -> None:
    candidate, plain = flips(29, 0, 100)
    decision = adaptation(RULE, candidate, evidence(plain, candidate.ids[:n_target].tolist()))
    assert decision.outcome == "insufficient_data"
    assert f"(till-2) there are {n_target} labelled test samples and the gate asks for 30" in decision.reason
    assert "cannot be told without labels" in decision.reason


def test_the_order_of_the_samples_does_not_matter() -> None:
    candidate, plain = flips(12, 2, 60)
    turned = answers(plain.correct[::-1].tolist(), plain.ids[::-1].tolist())
    everything = candidate.ids.tolist()
    assert adaptation(RULE, candidate, evidence(turned, everything)) == adaptation(RULE, candidate, evidence(plain, everything))


def test_other_samples_are_no_comparison() -> None:
    candidate, _ = flips(12, 2, 60)
    with pytest.raises(DataError, match="two evaluations with other ids"):
        adaptation(RULE, candidate, evidence(answers([True] * 60, [f"x{number}" for number in range(60)]), candidate.ids.tolist()))


def test_a_plain_training_that_failed_or_is_the_same_does_not_promote() -> None:
    candidate, _ = flips(12, 2, 60)
    everything = candidate.ids.tolist()
    failed = adaptation(RULE, candidate, evidence(None, everything, "failed"))
    assert (failed.outcome, failed.reason) == ("insufficient_data", "plain training failed: no memory")
    same = adaptation(RULE, candidate, evidence(None, everything, "same"))
    assert same.outcome == "refuse"
    assert "nothing is gained by it" in same.reason


def test_a_candidate_that_was_not_adapted_is_asked_nothing() -> None:
    decision = adaptation(RULE, flips(0, 5, 60)[0], None)
    assert decision.outcome == "pass"
    assert "was not adapted" in decision.reason


@pytest.mark.parametrize("discordance", [0.02, 0.1, 0.4])
@pytest.mark.parametrize("n", [40, 200])
def test_an_adaptation_that_gains_nothing_passes_as_often_as_stated(n: int, discordance: float) -> None:
    """4,000 runs at the edge of the null, wins and losses equally likely; the gate is asked once for each pair of counts that occurs."""
    rng = np.random.default_rng([n, int(1_000 * discordance)])
    n_discordant = rng.binomial(n, discordance, size=4_000)
    n_wins = rng.binomial(n_discordant, 0.5)
    counts = Counter(zip(n_wins.tolist(), (n_discordant - n_wins).tolist(), strict=True))
    n_passed = sum(n_runs for (wins, losses), n_runs in counts.items() if adaptation(RULE, *_case(wins, losses, n)).outcome == "pass")
    assert n_passed <= stats.binom.ppf(0.999, 4_000, 0.05)


def _case(n_wins: int, n_losses: int, n: int) -> tuple[TestAnswers, PlainTraining]:
    candidate, plain = flips(n_wins, n_losses, n)
    return candidate, evidence(plain, candidate.ids.tolist())


CONTENT: dict[str, object] = {"project": "toy", "task": "image", "labels": ["a", "b"], "backbone": {"kind": "shipped"}}


def test_the_gate_alone_is_no_gate() -> None:
    with pytest.raises(ValueError, match="the only gate is adaptation, which asks nothing of a model that was not adapted"):
        ProjectConfig.model_validate(CONTENT | {"gates": [{"kind": "adaptation"}]})
    with pytest.raises(ValueError, match=r"gates are all on the served Bento \(bundle_mb, adaptation\)"):
        ProjectConfig.model_validate(CONTENT | {"gates": [{"kind": "bundle_mb", "limit_mb": 5}, {"kind": "adaptation"}]})


def test_a_method_that_adapts_to_nothing() -> None:
    gates = {"gates": [{"kind": "goldens"}]}
    with pytest.raises(ValueError, match=r"method adapt names no unlabelled samples; `regraft retrain --adapt`"):
        ProjectConfig.model_validate(CONTENT | gates | {"method": {"kind": "adapt", "by": "bn"}})
    with pytest.raises(ValueError, match=r"method adapt needs the gate adaptation"):
        ProjectConfig.model_validate(CONTENT | gates | {"method": {"kind": "adapt", "unlabelled": "0" * 16}})
    with pytest.raises(ValueError, match="adaptation names a source; it is the project's method that is adapted"):
        ProjectConfig.model_validate(CONTENT | gates | {"adaptation": {"source": {"kind": "probe"}}})
    named = {"adaptation": {"unlabelled": "0" * 16}}
    with pytest.raises(ValueError, match=r"unlabelled names one snapshot, and trigger\.adapt_without_labels adapts to the inputs of its"):
        ProjectConfig.model_validate(CONTENT | gates | named | {"trigger": {"adapt_without_labels": True}})
    ProjectConfig.model_validate(CONTENT | gates | named)


def test_settings_of_a_way_that_is_not_taken() -> None:
    gates = {"gates": [{"kind": "goldens"}]}
    with pytest.raises(ValueError, match=r"dann has settings, but the way taken is by: bn; remove them, or write by: dann"):
        ProjectConfig.model_validate(CONTENT | gates | {"adaptation": {"by": "bn", "dann": {"max_weight": 0.5}}})
