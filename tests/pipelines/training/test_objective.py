from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight, compute_sample_weight
from torch.nn import functional

from pipelines.config import FineTuneMethod
from pipelines.training.objective import Objective, balanced_binary_weights, balanced_weights, make_objective


def objective(targets: np.ndarray, n_labels: int, labels_per_sample: str = "one", **changes: object) -> Objective:
    recipe = FineTuneMethod.model_validate({"kind": "fine_tune", "label_smoothing": 0.1} | changes)
    return make_objective(targets, n_labels, labels_per_sample, recipe, "cpu")  # type: ignore[arg-type]


def example(n: int = 40, k: int = 4, seed: int = 0) -> tuple[np.ndarray, torch.Tensor]:
    rng = np.random.default_rng(seed)
    targets = np.concatenate([np.arange(k), rng.choice(k, n - k, p=np.arange(1, k + 1) / np.arange(1, k + 1).sum())])
    return targets, torch.from_numpy(rng.normal(size=(n, k)).astype(np.float32) * 2)


def slow_cross_entropy(logits: np.ndarray, soft: np.ndarray, weights: np.ndarray, smoothing: float) -> list[float]:
    losses = []
    for row, target in zip(logits.astype(np.float64), soft, strict=True):
        log_probabilities = row - np.log(np.exp(row).sum())
        k = len(row)
        losses.append(-sum(weights[c] * (target[c] * (1 - smoothing) + smoothing / k) * log_probabilities[c] for c in range(k)))
    return losses


@pytest.mark.parametrize("class_weights", ["none", "balanced"])
@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_one_label_equals_torch_and_a_slow_sum(class_weights: str, smoothing: float) -> None:
    targets, logits = example()
    made = objective(targets, 4, class_weights=class_weights, label_smoothing=smoothing)
    weights = compute_class_weight("balanced", classes=np.arange(4), y=targets) if class_weights == "balanced" else np.ones(4)
    losses = made.losses(logits, torch.from_numpy(targets))
    assert losses.shape == (40,)
    np.testing.assert_allclose(losses.numpy(), slow_cross_entropy(logits.numpy(), np.eye(4)[targets], weights, smoothing), rtol=1e-5)
    theirs = functional.cross_entropy(
        logits, torch.from_numpy(targets), weight=torch.from_numpy(weights).float(), label_smoothing=smoothing
    )
    # torch divides by the sum of the weights, which over the training samples is n.
    assert float(losses.mean()) == pytest.approx(float(theirs), rel=1e-5)


def test_soft_targets_of_one_label_give_the_same_losses() -> None:
    targets, logits = example()
    made = objective(targets, 4, class_weights="balanced")
    soft = made.soft_targets(torch.from_numpy(targets))
    assert soft.dtype == torch.float32
    assert torch.equal(soft.sum(dim=1), torch.ones(40))
    torch.testing.assert_close(made.losses(logits, soft), made.losses(logits, torch.from_numpy(targets)))
    blended = soft * 0.3 + soft.roll(1, 0) * 0.7
    expected = slow_cross_entropy(logits.numpy(), blended.numpy(), balanced_weights(targets, 4), 0.1)
    np.testing.assert_allclose(made.losses(logits, blended).numpy(), expected, rtol=1e-5)


@given(st.lists(st.integers(0, 5), min_size=1, max_size=60), st.integers(6, 9))
def test_balanced_weights_have_mean_one_and_make_classes_count_the_same(drawn: list[int], n_labels: int) -> None:
    targets = np.array(drawn)
    weights = balanced_weights(targets, n_labels)
    assert np.isfinite(weights).all()
    assert (weights > 0).all()
    assert weights[targets].mean() == pytest.approx(1)
    assert len({round(float(weights[targets][targets == label].sum()), 6) for label in set(drawn)}) == 1
    np.testing.assert_allclose(weights[targets], compute_sample_weight("balanced", targets))


def test_a_class_without_samples_gives_finite_losses_and_gradients() -> None:
    targets, _ = example(k=3)
    logits = torch.randn(40, 5, generator=torch.Generator().manual_seed(0), requires_grad=True)
    losses = objective(targets, 5, class_weights="balanced").losses(logits, torch.from_numpy(targets))
    losses.mean().backward()
    assert torch.isfinite(losses).all()
    assert torch.isfinite(logits.grad).all()


def test_many_labels_equal_torch_and_a_slow_sum() -> None:
    rng = np.random.default_rng(1)
    targets = (rng.random((50, 3)) < [0.1, 0.5, 0.8]).astype(np.float32)
    logits = torch.from_numpy(rng.normal(size=(50, 3)).astype(np.float32))
    made = objective(targets, 3, "many", class_weights="balanced")
    losses = made.losses(logits, torch.from_numpy(targets)).numpy()
    expected = []
    for row, truth in zip(logits.numpy().astype(float), targets, strict=True):
        terms = []
        for label in range(3):
            positives = targets[:, label].sum()
            smooth = truth[label] * 0.9 + 0.05
            probability = 1 / (1 + np.exp(-row[label]))
            terms.append(
                -(50 / (2 * positives)) * smooth * np.log(probability)
                - (50 / (2 * (50 - positives))) * (1 - smooth) * np.log(1 - probability)
            )
        expected.append(np.mean(terms))
    np.testing.assert_allclose(losses, expected, rtol=1e-5)
    plain = objective(targets, 3, "many", label_smoothing=0).losses(logits, torch.from_numpy(targets))
    assert float(plain.mean()) == pytest.approx(float(functional.binary_cross_entropy_with_logits(logits, torch.from_numpy(targets))))


@given(st.integers(1, 30), st.integers(0, 999))
def test_binary_weights_are_finite_with_mean_one(n: int, seed: int) -> None:
    targets = (np.random.default_rng(seed).random((n, 4)) < [0, 0.2, 0.7, 1]).astype(np.float32)
    of_negatives, relative = balanced_binary_weights(targets)
    assert np.isfinite([of_negatives, relative]).all()
    weights = of_negatives * np.where(targets > 0, relative, 1)
    np.testing.assert_allclose(weights.mean(axis=0), 1)
    for label in range(4):
        np.testing.assert_allclose(weights[:, label], compute_sample_weight("balanced", targets[:, label]))


def test_bfloat16_logits_are_measured_in_float32() -> None:
    targets, logits = example()
    losses = objective(targets, 4).losses(logits.bfloat16(), torch.from_numpy(targets))
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses, objective(targets, 4).losses(logits.bfloat16().float(), torch.from_numpy(targets)))


def test_soft_targets_of_many_labels_are_the_labels() -> None:
    targets = np.array([[1, 0], [1, 1], [0, 0]], dtype=np.float32)
    assert torch.equal(objective(targets, 2, "many").soft_targets(torch.from_numpy(targets)), torch.from_numpy(targets))
