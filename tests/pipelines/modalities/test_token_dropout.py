from __future__ import annotations

import numpy as np
import torch

from pipelines.config import AugmentSection
from pipelines.modalities.token_dropout import drop_tokens

BATCH = torch.tensor([[*range(10, 40)], [*range(50, 60), *[-1] * 20], [7, *[-1] * 29]])


def test_tokens_are_left_out_in_order_and_the_ends_stay() -> None:
    section = AugmentSection(policy="token_dropout", magnitude=1.0)
    changed = drop_tokens(BATCH, section, [1, 2, 3]).numpy()
    for before, after in zip(BATCH.numpy(), changed, strict=True):
        old, new = before[before >= 0], after[after >= 0]
        assert list(new) == sorted(new)
        assert set(new) <= set(old)
        assert (new[0], new[-1]) == (old[0], old[-1])
        assert (after[len(new) :] == -1).all()
    assert np.array_equal(changed, drop_tokens(BATCH, section, [1, 2, 3]).numpy())
    # A text's change depends on its own seed alone.
    assert np.array_equal(changed[1:2], drop_tokens(BATCH[1:2], section, [2]).numpy())


def test_a_third_of_the_magnitude_is_left_out() -> None:
    long = torch.arange(1, 3001)[None]
    for magnitude in (0.3, 1.0):
        section = AugmentSection(policy="token_dropout", magnitude=magnitude)
        n_left_out = 3000 - int((drop_tokens(long, section, [5]) >= 0).sum())
        expected = 1000 * magnitude
        assert abs(n_left_out - expected) < 5 * expected**0.5
    assert drop_tokens(long, AugmentSection(policy="none"), [5]) is long
