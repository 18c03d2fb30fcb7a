"""Macro-F1, AUROC, each sample's effect on them and the test of their difference, against scikit-learn and plain loops."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import f1_score, roc_auc_score

from pipelines.gates.paired_metrics import Difference, Metric, Scored, compare
from pipelines.intervals import tango_score

MetricOf = Callable[[np.ndarray, np.ndarray, np.ndarray], float]


def weighted_f1(targets: np.ndarray, given: np.ndarray, weights: np.ndarray) -> float:
    columns = [label for label in range(targets.shape[1]) if targets[:, label].any()]
    return float(np.mean([f1_score(targets[:, c], given[:, c], sample_weight=weights, zero_division=0) for c in columns]))


def weighted_area(targets: np.ndarray, scores: np.ndarray, weights: np.ndarray) -> float:
    columns = [label for label in range(targets.shape[1]) if 0 < targets[:, label].sum() < len(targets)]
    return float(np.mean([roc_auc_score(targets[:, c], scores[:, c], sample_weight=weights) for c in columns]))


ORACLES: dict[Metric, MetricOf] = {"macro_f1": weighted_f1, "auroc": weighted_area}


def made_up(metric: Metric, n: int, seed: int, *, many: bool = False) -> Scored:
    rng = np.random.default_rng(seed)
    n_labels = 4
    true = rng.choice(n_labels - 1, n, p=[0.6, 0.3, 0.1])  # no sample has the last label
    targets = np.eye(n_labels)[true] > 0
    if many:
        targets |= rng.random(targets.shape) < [0.2, 0.2, 0.2, 0.0]
    champion = targets + rng.normal(0, 0.6, targets.shape)
    candidate = champion + rng.normal(0, 0.3, targets.shape)
    if metric == "macro_f1":
        champion, candidate = (((scores > 0.5) * 1.0) for scores in (champion, candidate))
    else:
        champion, candidate = np.round(champion, 1), np.round(candidate, 1)  # with ties
    return Scored(metric, ("a", "b", "c", "d"), targets, candidate, champion)


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_the_metric_is_scikit_learns(metric: Metric, many: bool) -> None:
    scored = made_up(metric, 150, 1, many=many)
    found, ones = compare(scored), np.ones(150)
    assert found.candidate == pytest.approx(ORACLES[metric](scored.targets, scored.candidate, ones))
    assert found.champion == pytest.approx(ORACLES[metric](scored.targets, scored.champion, ones))
    assert found.value == found.candidate - found.champion


@pytest.mark.parametrize("many", [False, True])
@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_the_variance_is_that_of_numerical_effects(metric: Metric, many: bool) -> None:
    """A sample's effect is n times the derivative of the metric by the sample's weight."""
    scored, step, n = made_up(metric, 60, 2, many=many), 1e-5, 60
    effects = np.zeros(n)
    for row in range(n):
        change = np.zeros(n)
        change[row] = step
        for sign, answers in ((1, scored.candidate), (-1, scored.champion)):
            up, down = (ORACLES[metric](scored.targets, answers, 1 + side * change) for side in (1, -1))
            effects[row] += sign * n * (up - down) / (2 * step)
    assert effects.mean() == pytest.approx(0, abs=1e-6)
    assert compare(scored).variance == pytest.approx((effects**2).mean(), rel=1e-5)


def test_the_largest_loss_of_macro_f1_is_what_the_worst_sample_costs() -> None:
    """A champion that is always right, and one sample of the rarest label lost to the next rarest: to first order that is its cost."""
    true = np.repeat([0, 1, 2], [600, 300, 100])
    right = np.eye(3)[true]
    lost = right.copy()
    lost[-1] = [0, 1, 0]
    found = compare(Scored("macro_f1", ("a", "b", "c"), right > 0, lost, right))
    assert -found.value * 1000 == pytest.approx(found.largest_loss, rel=0.02)


def test_the_largest_loss_of_auroc_is_what_the_worst_sample_costs() -> None:
    true = np.repeat([0, 1, 2], [60, 30, 10])
    right = np.eye(3)[true]
    lost = right.copy()
    lost[-1] = [2, 0.5, -1]  # last of its own label, first of the commonest
    found = compare(Scored("auroc", ("a", "b", "c"), right > 0, lost, right))
    assert -found.value * 100 == pytest.approx(100 / 3 * (1 / 10 + 1 / 40), rel=1e-9)
    assert found.largest_loss == pytest.approx(100 / 3 * (1 / 10 + 1 / 40), rel=1e-9)


def test_without_a_difference_nothing_was_seen() -> None:
    tie = compare(made_up("macro_f1", 300, 3).tie)
    assert (tie.value, tie.variance) == (0, 0)
    assert tie.p_value(0) == 1
    assert 0 < tie.p_value(-0.03) < 0.5


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 5), (20, 25), (2, 12), (10, 3)])
def test_for_an_accuracy_it_is_tangos_score_or_a_little_less(wins: int, losses: int) -> None:
    """Effects of +1, -1 and 0 are an accuracy's; without its correction the score is at most Tango's, and near it."""
    from scipy.special import ndtri

    n, margin = 400, 0.05
    value = (wins - losses) / n
    plain = Difference(value, 0.0, (wins + losses) / n - value**2, 1.0, n)
    corrected = Difference(value + 1 / (2 * n), 0.0, plain.variance, 1.0, n)
    tango = float(tango_score(wins, losses, n, -margin))
    assert 0.85 * tango <= -ndtri(corrected.p_value(-margin)) <= tango
    assert plain.p_value(-margin) > corrected.p_value(-margin)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000), metric=st.sampled_from(["macro_f1", "auroc"]), level=st.sampled_from([0.9, 0.95, 0.99]))
def test_bound_and_p_value_agree(seed: int, metric: Metric, level: float) -> None:
    found = compare(made_up(metric, 120, seed))
    for threshold in (-0.1, -0.03, 0.0):
        low = found.lower_bound(level, threshold)
        assert (found.p_value(threshold) <= 1 - level) == (low >= threshold)
        assert low <= found.value
    grid = [found.p_value(threshold) for threshold in np.linspace(-0.5, found.value, 50)]
    assert (np.diff(grid) >= -1e-12).all()


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10_000), metric=st.sampled_from(["macro_f1", "auroc"]))
def test_the_order_of_samples_and_labels_says_nothing(seed: int, metric: Metric) -> None:
    scored = made_up(metric, 90, seed)
    rng = np.random.default_rng(seed)
    rows, columns = rng.permutation(90), rng.permutation(4)
    mixed = Scored(metric, scored.labels, *(part[rows][:, columns] for part in (scored.targets, scored.candidate, scored.champion)))
    assert compare(mixed).p_value(-0.03) == pytest.approx(compare(scored).p_value(-0.03))
    assert compare(scored.swapped).value == pytest.approx(-compare(scored).value)
