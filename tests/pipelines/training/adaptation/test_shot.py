from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from pipelines.config import ShotAdaptation
from pipelines.training.adaptation.shot import ShotLoss, frozen_head, information_loss, pseudo_labels, thawed_head
from pipelines.training.step import StepPart


def softmax(logits: np.ndarray) -> np.ndarray:
    exponentials = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(exponentials / exponentials.sum(axis=1, keepdims=True))


def slow_information_loss(logits: np.ndarray, diversity: float) -> float:
    answers = softmax(logits.astype(np.float64))
    entropy = np.mean([-sum(p * math.log(p) for p in row) for row in answers])
    mean = answers.mean(axis=0)
    return float(entropy + diversity * sum(p * math.log(p) for p in mean))


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 9), st.integers(2, 6), st.floats(0, 2), st.integers(0, 10_000))
def test_information_loss_against_numpy(n: int, k: int, diversity: float, seed: int) -> None:
    logits = np.random.default_rng(seed).normal(scale=3, size=(n, k)).astype(np.float32)
    got = float(information_loss(torch.from_numpy(logits), diversity))
    assert got == pytest.approx(slow_information_loss(logits, diversity), abs=1e-4)


def test_sure_and_diverse_is_best_and_a_single_class_is_not() -> None:
    sure = 40 * torch.eye(4)
    assert float(information_loss(sure, 1.0)) == pytest.approx(-math.log(4), abs=1e-5)
    assert float(information_loss(sure[[0, 0, 0, 0]], 1.0)) == pytest.approx(0, abs=1e-5)
    assert float(information_loss(torch.zeros(4, 4), 1.0)) == pytest.approx(0, abs=1e-5)


def slow_pseudo_labels(features: np.ndarray, answers: np.ndarray) -> list[int]:
    """Equations 5 and 6 by loops."""
    rows = [[*row, 1.0] for row in features.tolist()]
    rows = [[value / math.sqrt(sum(item * item for item in row)) for value in row] for row in rows]
    n_classes = answers.shape[1]

    def nearest(weights: list[list[float]]) -> list[int]:
        labels = []
        for row in rows:
            best, chosen = -math.inf, -1
            for label in range(n_classes):
                total = sum(weight[label] for weight in weights)
                if total == 0:
                    continue
                pairs = list(zip(weights, rows, strict=True))
                centre = [sum(weight[label] * other[place] for weight, other in pairs) / total for place in range(len(row))]
                length = math.sqrt(sum(value * value for value in centre))
                cosine = sum(a * b for a, b in zip(row, centre, strict=True)) / length
                if cosine > best + 1e-12:
                    best, chosen = cosine, label
            labels.append(chosen)
        return labels

    first = nearest(answers.tolist())
    return nearest([[float(label == own) for label in range(n_classes)] for own in first])


@settings(deadline=None, max_examples=30)
@given(st.integers(1, 25), st.integers(1, 5), st.integers(2, 5), st.integers(0, 10_000))
def test_pseudo_labels_against_the_slow_reference(n: int, d: int, k: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    features, answers = rng.normal(size=(n, d)), softmax(rng.normal(scale=2, size=(n, k)))
    assert pseudo_labels(features, answers).tolist() == slow_pseudo_labels(features, answers)


def test_pseudo_labels_put_right_what_the_head_gets_wrong() -> None:
    """A third of one cluster is answered wrongly, and its centre wins them back."""
    rng = np.random.default_rng(0)
    true = np.repeat([0, 1, 2], 30)
    features = 5 * np.eye(3)[true] + rng.normal(scale=0.3, size=(90, 3))
    answered = true.copy()
    answered[:10] = 1
    answers = 0.8 * np.eye(3)[answered] + 0.2 / 3
    assert (answers.argmax(axis=1) == true).mean() < 0.9
    assert (pseudo_labels(features, answers) == true).all()


def test_a_class_that_nobody_is_nearest_to_gets_no_sample() -> None:
    rng = np.random.default_rng(1)
    features = rng.normal(size=(20, 3)) + 5
    answers = np.tile([[0.98, 0.01, 0.01]], (20, 1))
    assert set(pseudo_labels(features, answers).tolist()) <= {0, 1, 2}


def test_a_class_that_no_answer_gives_any_weight() -> None:
    rng = np.random.default_rng(2)
    answers = np.zeros((20, 3))
    answers[:10, 0] = answers[10:, 2] = 1.0
    features = rng.normal(size=(20, 3)) + 4 * answers
    assert pseudo_labels(features, answers).tolist() == [0] * 10 + [2] * 10


def test_the_loss_is_the_sum_of_its_parts() -> None:
    network = nn.Sequential(nn.Identity(), nn.Linear(4, 3))
    rows = torch.randn(8, 4, generator=torch.Generator().manual_seed(0))
    targets = torch.arange(8) % 3
    logits = network(rows)
    part = StepPart(1, 0, 0, 1)
    without = ShotLoss(ShotAdaptation(pseudo_label_weight=0))(network, rows, targets, part)
    torch.testing.assert_close(without, information_loss(logits, 1.0))
    whole = ShotLoss(ShotAdaptation(pseudo_label_weight=0.3, diversity=0.5))(network, rows, targets, part)
    torch.testing.assert_close(whole, information_loss(logits, 0.5) + 0.3 * nn.functional.cross_entropy(logits, targets))


def test_the_frozen_head_answers_alike_and_has_nothing_to_train() -> None:
    head = nn.Linear(4, 3)
    rows = torch.randn(5, 4, generator=torch.Generator().manual_seed(1))
    frozen = frozen_head(head)
    assert list(frozen.parameters()) == []
    assert torch.equal(frozen(rows), head(rows))
    shipped = thawed_head(frozen)
    assert list(shipped.state_dict()) == ["weight", "bias"]
    assert torch.equal(shipped(rows), head(rows))
