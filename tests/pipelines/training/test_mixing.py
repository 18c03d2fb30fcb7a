from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torchvision.transforms import v2

from pipelines.config.methods import AugmentSection
from pipelines.training.mixing import cut_box, mix_batch


def example(n: int = 6, k: int = 3, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    rng = np.random.default_rng(seed)
    labels = torch.from_numpy(rng.integers(0, k, n))
    return torch.from_numpy(rng.normal(size=(n, 2, 12, 20)).astype(np.float32)), torch.nn.functional.one_hot(labels, k).float()


def section(mixup: float = 0.0, cutmix: float = 0.0) -> AugmentSection:
    return AugmentSection(mixup_alpha=mixup, cutmix_alpha=cutmix)


def kept(targets: torch.Tensor, mixed: torch.Tensor) -> float:
    """The share that a sample keeps, read off a pair of different labels."""
    row = int(torch.nonzero(targets.argmax(1) != targets.roll(1, 0).argmax(1))[0])
    return float(mixed[row, targets[row].argmax()])


@pytest.mark.parametrize("seed", range(5))
def test_mixup_equals_torchvisions_with_the_same_share(seed: int) -> None:
    batch, targets = example()
    mixed, soft = mix_batch(batch, targets, section(mixup=0.8), seed)
    share = kept(targets, soft)
    images, labels = v2.MixUp(num_classes=3).transform(batch, {"lam": share, "labels": targets, "batch_size": 6}), None
    assert labels is None
    torch.testing.assert_close(mixed, images, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(soft, targets * share + targets.roll(1, 0) * (1 - share))


@pytest.mark.parametrize("seed", range(20))
def test_cutmix_pastes_one_rectangle_and_states_its_area(seed: int) -> None:
    batch, targets = example()
    mixed, soft = mix_batch(batch, targets, section(cutmix=1.0), seed)
    pasted = (mixed == batch.roll(1, 0)).all(dim=1) & (mixed != batch).any(dim=1)
    assert torch.equal(mixed[~pasted[:, None].expand_as(mixed)], batch[~pasted[:, None].expand_as(mixed)])
    rows, columns = torch.nonzero(pasted[0]).unbind(1)
    box = pasted[0][rows.min() : rows.max() + 1, columns.min() : columns.max() + 1] if len(rows) else pasted[0][:0]
    assert bool(box.all())
    assert kept(targets, soft) == pytest.approx(1 - float(pasted[0].float().mean()), abs=1e-6)


def test_the_box_equals_torchvisions_arithmetic() -> None:
    class Centre:
        def __init__(self, row: int, column: int) -> None:
            self.drawn = [row, column]

        def integers(self, _: int) -> int:
            return self.drawn.pop(0)

    for row, column, share in [(0, 0, 0.2), (5, 9, 0.5), (11, 19, 0.9), (6, 3, 0.0), (6, 3, 1.0)]:
        radius = 0.5 * np.sqrt(1 - share)
        half_height, half_width = int(radius * 12), int(radius * 20)
        expected = (max(row - half_height, 0), min(row + half_height, 12), max(column - half_width, 0), min(column + half_width, 20))
        assert cut_box(12, 20, share, Centre(row, column)) == expected  # type: ignore[arg-type]


@given(st.integers(0, 2**63 - 1), st.floats(0, 4), st.floats(0, 4), st.integers(1, 9))
def test_rows_of_one_label_keep_their_sum(seed: int, mixup: float, cutmix: float, n: int) -> None:
    batch, targets = example(n)
    mixed, soft = mix_batch(batch, targets, section(mixup, cutmix), seed)
    assert mixed.shape == batch.shape
    torch.testing.assert_close(soft.sum(dim=1), torch.ones(n))
    assert bool((soft >= 0).all())
    assert torch.isfinite(mixed).all()


def test_rows_of_many_labels_are_blended() -> None:
    batch, _ = example(2)
    targets = torch.tensor([[1.0, 1.0, 0.0], [0.0, 1.0, 0.0]])
    _, soft = mix_batch(batch, targets, section(mixup=1.0), seed=3)
    torch.testing.assert_close(soft[:, 1], torch.ones(2))
    assert float(soft[0, 0] + soft[1, 0]) == pytest.approx(1)
    assert torch.equal(soft[:, 2], torch.zeros(2))


def test_both_on_take_turns_at_random_and_both_off_change_nothing() -> None:
    batch, targets = example()
    assert mix_batch(batch, targets, section(), 0) == (batch, targets)
    n_pasted = 0
    for seed in range(200):
        mixed, _ = mix_batch(batch, targets, section(1.0, 1.0), seed)
        n_pasted += bool(((mixed == batch) | (mixed == batch.roll(1, 0))).all())
    assert 70 <= n_pasted <= 130


def test_seeded_and_without_a_trace() -> None:
    batch, targets = example()
    original, torch_state, numpy_state = batch.clone(), torch.get_rng_state(), np.random.get_state()[1].tolist()
    first, second, other = (mix_batch(batch, targets, section(1.0, 1.0), seed)[0] for seed in (1, 1, 2))
    assert torch.equal(first, second)
    assert not torch.equal(first, other)
    assert torch.equal(batch, original)
    assert torch.equal(torch_state, torch.get_rng_state())
    assert numpy_state == np.random.get_state()[1].tolist()
