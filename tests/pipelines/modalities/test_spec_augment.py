from __future__ import annotations

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st

from pipelines.config import AugmentSection
from pipelines.modalities.spec_augment import mask_bands

SECTION = AugmentSection(policy="spec_augment", magnitude=1.0, n_operations=2)


def batch(n: int = 3, patches: int = 2) -> torch.Tensor:
    return torch.randn(n, patches, 1, 30, 24, generator=torch.Generator().manual_seed(0))


@given(seed=st.integers(0, 2**31), magnitude=st.floats(0, 1), n=st.integers(1, 4))
def test_what_changes_is_whole_bands_of_bounded_width_at_the_mean(seed: int, magnitude: float, n: int) -> None:
    section = SECTION.model_copy(update={"magnitude": magnitude, "n_operations": n})
    plain = batch(1, 1)
    masked = mask_bands(plain, section, [seed])
    changed = (masked != plain)[0, 0, 0].numpy()
    frames, bands = changed.all(axis=1), changed.all(axis=0)
    assert np.array_equal(changed, frames[:, None] | bands[None, :])
    assert frames.sum() <= n * int(30 * magnitude / 3)
    assert bands.sum() <= n * int(24 * magnitude / 3)
    np.testing.assert_allclose(masked[0, 0, 0].numpy()[changed], plain.mean(), rtol=1e-4, atol=1e-6)


def test_a_sound_changes_the_same_whoever_is_beside_it() -> None:
    plain = batch()
    together = mask_bands(plain, SECTION, [1, 2, 3])
    alone = [mask_bands(plain[place : place + 1], SECTION, [seed]) for place, seed in enumerate([1, 2, 3])]
    assert torch.equal(together, torch.cat(alone))
    assert not torch.equal(together, plain)
    assert torch.equal(plain, batch())


def test_patches_that_are_none_stay_none() -> None:
    plain = batch()
    plain[1, 1] = torch.nan
    masked = mask_bands(plain, SECTION, [1, 2, 3])
    assert torch.isnan(masked[1, 1]).all()
    assert not torch.isnan(masked[1, 0]).any()


def test_another_policy_changes_nothing() -> None:
    plain = batch()
    assert mask_bands(plain, AugmentSection(policy="none"), [1, 2, 3]) is plain
