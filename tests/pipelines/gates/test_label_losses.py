"""Macro-F1 and AUROC against scikit-learn, their influences against leaving each sample out, their bounds by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binom
from sklearn.metrics import f1_score, roc_auc_score

from pipelines.answers import TestAnswers
from pipelines.core.errors import DataError
from pipelines.gates.label_losses import LabelLoss, all_labels, auroc_loss, label_matrix, macro_f1_loss, probabilities_of
from pipelines.gates.min_metric import MIN_N_OF_A_LABEL
from pipelines.mean_bounds import upper_bound

N, LABELS = 80, 4


def one_label(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.integers(0, LABELS, N)
    scores = rng.normal(size=(N, LABELS)) + 1.5 * np.eye(LABELS)[true]
    probabilities = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    return np.eye(LABELS, dtype=bool)[true], np.eye(LABELS, dtype=bool)[probabilities.argmax(axis=1)], np.round(probabilities, 2)


def many_labels(seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    true = rng.random((N, LABELS)) < 0.3
    probabilities = np.round(1 / (1 + np.exp(-(rng.normal(size=(N, LABELS)) + 2 * true - 1))), 2)
    return true, probabilities > 0.5, probabilities


CASES = [(one_label, seed) for seed in range(3)] + [(many_labels, seed) for seed in range(3)]


@pytest.mark.parametrize(("draw", "seed"), CASES)
def test_values_are_those_of_scikit_learn(draw, seed: int) -> None:
    true, predicted, probabilities = draw(seed)
    exclusive = draw is one_label
    assert 1 - macro_f1_loss(true, predicted, exclusive=exclusive).value == pytest.approx(f1_score(true, predicted, average="macro"))
    # Rounded probabilities: there are ties.
    assert 1 - auroc_loss(true, probabilities, exclusive=exclusive).value == pytest.approx(roc_auc_score(true, probabilities))


@pytest.mark.parametrize(("draw", "seed"), CASES)
def test_influences_are_what_a_sample_adds(draw, seed: int) -> None:
    """To first order: the exact derivative by the sample's weight, from scikit-learn with weights."""
    true, predicted, probabilities = draw(seed)
    f1, auroc = macro_f1_loss(true, predicted, exclusive=True), auroc_loss(true, probabilities, exclusive=True)
    step = 1e-5
    for row in range(5):
        up, down = np.ones(N), np.ones(N)
        up[row], down[row] = 1 + step, 1 - step
        f1_slope, auroc_slope = (
            (metric(true, answer, average="macro", sample_weight=down) - metric(true, answer, average="macro", sample_weight=up))
            / (2 * step)
            for metric, answer in ((f1_score, predicted), (roc_auc_score, probabilities))
        )
        assert f1.influences[row] == pytest.approx(f1_slope, abs=1e-6)
        assert auroc.influences[row] == pytest.approx(auroc_slope, abs=1e-6)
    for loss in (f1, auroc):
        assert loss.influences.sum() == pytest.approx(0, abs=1e-12)


def slow_heaviest_f1(true: np.ndarray, predicted: np.ndarray, *, exclusive: bool) -> float:
    """By trying: what the denominators make of the worst that one answer can be."""
    mentions = true.sum(axis=0) + predicted.sum(axis=0)
    worst = [np.eye(LABELS)[i] + np.eye(LABELS)[j] for i in range(LABELS) for j in range(i)] if exclusive else [np.ones(LABELS)]
    return max(float((wrong / mentions).mean()) for wrong in worst)


@pytest.mark.parametrize(("draw", "seed"), CASES)
def test_the_heaviest_sample_is_heavier_than_every_one_there_is(draw, seed: int) -> None:
    true, predicted, probabilities = draw(seed)
    exclusive = draw is one_label
    f1, auroc = macro_f1_loss(true, predicted, exclusive=exclusive), auroc_loss(true, probabilities, exclusive=exclusive)
    assert f1.heaviest == pytest.approx(slow_heaviest_f1(true, predicted, exclusive=exclusive))
    assert f1.influences.max() <= f1.heaviest
    assert auroc.influences.max() <= auroc.heaviest
    perfect = macro_f1_loss(true, true, exclusive=exclusive)
    assert (perfect.value, perfect.variance, perfect.heaviest) == (0, 0, pytest.approx(f1.heaviest_without_loss))


def test_labels_and_sets_as_matrices() -> None:
    texts = np.array(["cat|dog", "", "dog"])
    assert label_matrix(texts, ("dog", "cat"), "many").tolist() == [[True, True], [False, False], [True, False]]
    assert label_matrix(texts, ("dog", "cat|dog"), "one").tolist() == [[False, True], [False, False], [True, False]]


def some_answers(**changes: object) -> TestAnswers:
    content: dict[str, object] = {
        "ids": np.array(["a", "b"]),
        "domains": np.array(["d", "d"]),
        "labels": np.array(["owl", "cat"]),
        "predicted": np.array(["dog", "cat"]),
        "confidences": np.array([0.6, 0.9]),
        "probabilities": np.array([[0.4, 0.6], [0.9, 0.1]]),
        "label_names": ("cat", "dog"),
    }
    return TestAnswers(**(content | changes))  # type: ignore[arg-type]


def test_a_label_that_the_bundle_does_not_have_counts_and_has_no_probability() -> None:
    answers = some_answers()
    assert all_labels(answers) == ("cat", "dog", "owl")
    assert probabilities_of(answers, ("owl", "cat")).tolist() == [[0, 0.4], [0, 0.9]]
    assert all_labels(some_answers(probabilities=None, label_names=())) == ("cat", "dog", "owl")


def test_an_evaluation_without_probabilities_is_refused() -> None:
    with pytest.raises(DataError, match="without the probabilities of the labels"):
        probabilities_of(some_answers(probabilities=None, label_names=()), ("cat",))


# Simulations at the border: the floor is the true value, so every pass is wrong.


def most_by_chance(n_draws: int, rate: float) -> int:
    return int(binom.isf(1e-5, n_draws, rate))


def is_above(loss: LabelLoss, true_loss: float, level: float, *, plain: bool = False) -> bool:
    heaviest = 1e-12 if plain else loss.heaviest
    return bool(upper_bound(loss.value, loss.variance, heaviest, level) < true_loss)


def drawn_f1(rng: np.random.Generator, n: int, shares: np.ndarray, error: float) -> tuple[np.ndarray, np.ndarray]:
    """Labels and answers of n samples; an error is any other label."""
    n_labels = len(shares)
    true = rng.choice(n_labels, n, p=shares)
    wrong = rng.random(n) < error
    answered = np.where(wrong, (true + rng.integers(1, n_labels, n)) % n_labels, true)
    return np.eye(n_labels, dtype=bool)[true], np.eye(n_labels, dtype=bool)[answered]


def true_macro_f1(shares: np.ndarray, error: float) -> float:
    """From the probabilities of all pairs of label and answer."""
    n_labels = len(shares)
    pairs = shares[:, None] * np.where(np.eye(n_labels), 1 - error, error / (n_labels - 1))
    return float((2 * np.diag(pairs) / (pairs.sum(axis=0) + pairs.sum(axis=1))).mean())


F1_BORDER = [(2, 100, 0.02), (2, 300, 0.1), (5, 100, 0.01), (5, 300, 0.3), (3, 1000, 0.05)]


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.95, 0.9975])
@pytest.mark.parametrize(("n_labels", "n", "error"), F1_BORDER)
def test_macro_f1_is_bounded_within_the_level(n_labels: int, n: int, error: float, level: float) -> None:
    n_draws, rng = 4000, np.random.default_rng(n)
    shares = np.arange(1, n_labels + 1) / (n_labels * (n_labels + 1) / 2)
    border = 1 - true_macro_f1(shares, error)
    drawn = [drawn_f1(rng, n, shares, error) for _ in range(n_draws)]
    # With fewer samples of a label the gate says insufficient_data.
    losses = [macro_f1_loss(*draw, exclusive=True) for draw in drawn if draw[0].sum(axis=0).min() >= MIN_N_OF_A_LABEL]
    assert sum(is_above(loss, border, level) for loss in losses) <= most_by_chance(n_draws, 1 - level)


def test_a_plain_normal_bound_would_be_seen_to_fail() -> None:
    """The planted fault: without the heaviest sample, macro-F1 near 1 is claimed too often."""
    n_draws, rng, shares = 600, np.random.default_rng(1), np.array([0.1, 0.45, 0.45])
    border = 1 - true_macro_f1(shares, 0.01)
    losses = [macro_f1_loss(*drawn_f1(rng, 100, shares, 0.01), exclusive=True) for _ in range(n_draws)]
    assert sum(is_above(loss, border, 0.95, plain=True) or loss.value == 0 for loss in losses) > most_by_chance(n_draws, 0.05)
    assert sum(is_above(loss, border, 0.95) for loss in losses) <= most_by_chance(n_draws, 0.05)


def drawn_scores(rng: np.random.Generator, n: int, confusion: float, *, exclusive: bool) -> tuple[np.ndarray, np.ndarray]:
    """Three labels; a share of the samples looks just like those of another label, or like all the wrong sets of them."""
    if exclusive:
        true = rng.choice(3, n, p=[0.2, 0.4, 0.4])
        seen = np.where(rng.random(n) < confusion, (true + 1) % 3, true)
        return np.eye(3, dtype=bool)[true], rng.normal(size=(n, 3)) + 8 * np.eye(3)[seen]
    sets = rng.random((n, 3)) < 0.3
    return sets, rng.normal(size=(n, 3)) + 8 * (sets ^ (rng.random((n, 1)) < confusion))


@pytest.mark.slow
@pytest.mark.parametrize("level", [0.95, 0.9975])
@pytest.mark.parametrize("exclusive", [True, False])
@pytest.mark.parametrize(("n", "confusion"), [(60, 0.02), (100, 0.05), (300, 0.1)])
def test_auroc_is_bounded_within_the_level(n: int, confusion: float, exclusive: bool, level: float) -> None:
    n_draws, rng = 1500, np.random.default_rng(n)
    large = [auroc_loss(*drawn_scores(rng, 40_000, confusion, exclusive=exclusive), exclusive=exclusive).value for _ in range(5)]
    losses = [auroc_loss(*drawn_scores(rng, n, confusion, exclusive=exclusive), exclusive=exclusive) for _ in range(n_draws)]
    assert sum(is_above(loss, float(np.mean(large)), level) for loss in losses) <= most_by_chance(n_draws, 1 - level)
