"""Silencing against a model that adds up what it hears in the last third, so that what each stretch says is known."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from pipelines.core.sound_files import read_sound
from pipelines.sound_relevance import N_STRETCHES, stretch_relevance
from tests.pipelines.tiny_sounds import as_file


class HearsTheEnd:
    """Answers [quiet, loud] by how loud the last third is."""

    def predict(self, sounds: list[bytes]) -> Any:
        ends = [read_sound(content).samples for content in sounds]
        odds = np.array([20 * float(np.abs(samples[len(samples) * 2 // 3 :]).mean()) - 2 for samples in ends])
        loud = 1 / (1 + np.exp(-odds))
        return SimpleNamespace(probabilities=np.stack([1 - loud, loud], axis=1))


def relevance(place: int) -> Any:
    samples = 0.3 * np.sin(np.arange(12_000) / 5.0)
    return stretch_relevance(HearsTheEnd(), as_file(samples), place)  # type: ignore[arg-type]


def test_what_the_model_hears_is_marked() -> None:
    found = relevance(1)
    assert found.shape == (1, N_STRETCHES)
    np.testing.assert_allclose(found[0, : N_STRETCHES * 2 // 3], 0, atol=0.01)
    np.testing.assert_allclose(found[0, N_STRETCHES * 2 // 3 :], 1, atol=0.05)


def test_where_nothing_speaks_for_it_all_is_zero() -> None:
    assert not relevance(0).any()
