"""What is picked is what a slow copy of the method picks; what is certain, and what was picked already in another copy, comes last."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from pipelines.core.label_sets import LabelsPerSample
from pipelines.label_choice import choose, uncertainty


def inputs(seed: int, n: int = 60, c: int = 4, e: int = 5) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    rng = np.random.default_rng(seed)
    return rng.dirichlet(np.full(c, 0.4), n).astype(np.float32), rng.normal(3, 2, (n, e)).astype(np.float32)


@pytest.mark.parametrize(
    ("probabilities", "expected"), [((0.5, 0.5), 1.0), ((1.0, 0.0), 0.0), ((0.2, 0.7, 0.1), 0.5), ((0.4, 0.2, 0.4), 1.0)]
)
def test_uncertain_is_what_could_as_well_be_another_label(probabilities: tuple[float, ...], expected: float) -> None:
    assert uncertainty(probabilities, "one") == pytest.approx(expected)


@pytest.mark.parametrize(
    ("probabilities", "expected"), [((0.5, 1.0), 1.0), ((1.0, 0.0), 0.0), ((0.9, 0.3, 0.01), 0.6), ((0.01, 0.99), 0.02)]
)
def test_of_a_set_the_least_certain_label_counts(probabilities: tuple[float, ...], expected: float) -> None:
    assert uncertainty(probabilities, "many") == pytest.approx(expected)


def slow_choice(
    probabilities: NDArray[np.float32], embeddings: NDArray[np.float32], n: int, kind: LabelsPerSample, rng: np.random.Generator
) -> list[int]:
    """Gradients in full, and distances to every one that was picked."""
    p = probabilities.astype(np.float64)
    centred = embeddings.astype(np.float64) - embeddings.astype(np.float64).mean(axis=0)
    directions = np.hstack([centred / np.sqrt((centred**2).mean()), np.ones((len(p), 1))])
    answer = (p >= 0.5).astype(float) if kind == "many" else np.eye(p.shape[1])[p.argmax(axis=1)]
    gradients = np.stack([np.outer(a, b).ravel() for a, b in zip(p - answer, directions, strict=True)])
    picked = [int((gradients**2).sum(axis=1).argmax())]
    while len(picked) < n:
        nearest = np.array([min(((g - gradients[other]) ** 2).sum() for other in picked) for g in gradients])
        nearest[picked] = 0
        picked.append(int(np.searchsorted(nearest.cumsum(), rng.random() * nearest.sum(), side="right")))
    return picked


@pytest.mark.parametrize("kind", ["one", "many"])
@pytest.mark.parametrize("seed", range(5))
def test_the_same_as_with_gradients_in_full(kind: LabelsPerSample, seed: int) -> None:
    given = inputs(seed)
    expected = slow_choice(*given, 20, kind, np.random.default_rng(seed))
    assert choose(*given, 20, kind, np.random.default_rng(seed)).tolist() == expected


def test_none_is_picked_twice_and_fewer_are_a_part_of_more() -> None:
    given = inputs(1)
    all_of_them = choose(*given, 100, "one", np.random.default_rng(3))
    assert sorted(all_of_them.tolist()) == list(range(60))
    assert choose(*given, 7, "one", np.random.default_rng(3)).tolist() == all_of_them[:7].tolist()


def test_nothing_to_pick() -> None:
    assert choose(*inputs(0), 0, "one", np.random.default_rng(0)).tolist() == []
    assert choose(*inputs(0, n=0), 5, "one", np.random.default_rng(0)).tolist() == []


def test_of_what_is_certain_one_is_enough() -> None:
    """Answers without a doubt send no gradient: once one is picked, the others are equal to it."""
    probabilities, embeddings = inputs(2)
    probabilities[10:] = np.eye(4, dtype=np.float32)[0]
    picked = choose(probabilities, embeddings, 11, "one", np.random.default_rng(0)).tolist()
    assert sum(place >= 10 for place in picked) <= 1


@pytest.mark.parametrize("seed", range(20))
def test_frames_of_one_scene_are_one_pick(seed: int) -> None:
    """Ten equally uncertain scenes, of ten frames each, that hardly differ: by uncertainty alone any ten frames would do."""
    rng = np.random.default_rng(seed)
    scenes = rng.normal(0, 1, (10, 16))
    embeddings = (scenes.repeat(10, axis=0) + rng.normal(0, 0.01, (100, 16))).astype(np.float32)
    probabilities = np.tile(np.array([0.5, 0.48, 0.02], dtype=np.float32), (100, 1))
    picked = choose(probabilities, embeddings, 10, "one", np.random.default_rng(seed))
    assert len(set((picked // 10).tolist())) == 10


def test_equal_inputs_are_picked_all_the_same() -> None:
    probabilities, embeddings = np.full((5, 2), 0.5, dtype=np.float32), np.zeros((5, 3), dtype=np.float32)
    assert sorted(choose(probabilities, embeddings, 4, "one", np.random.default_rng(0)).tolist()) == [0, 1, 2, 3]
