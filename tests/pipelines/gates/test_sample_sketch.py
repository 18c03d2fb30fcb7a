"""Sketches of test sets: what they estimate, and that nothing else can be read off them."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from pipelines.gates.sample_sketch import SKETCH_SIZE, SampleSketch, shared_frac, sketch_of


def ids(start: int, stop: int, salt: int = 0) -> list[str]:
    return [hashlib.sha256(f"{salt}-{number}".encode()).hexdigest() for number in range(start, stop)]


@settings(max_examples=60, deadline=None)
@given(n=st.integers(1, 64), earlier=st.integers(1, 64), shift=st.integers(0, 64))
def test_small_sets_are_compared_exactly(n: int, earlier: int, shift: int) -> None:
    today, before = ids(0, n), ids(shift, shift + earlier)
    assert shared_frac(sketch_of(today), sketch_of(before)) == len(set(today) & set(before)) / n


@pytest.mark.parametrize(("n_today", "n_earlier", "n_shared"), [(600, 600, 300), (1000, 500, 500), (400, 1200, 400), (2000, 1500, 200)])
def test_the_estimate_is_unbiased_and_as_precise_as_stated(n_today: int, n_earlier: int, n_shared: int) -> None:
    found, share = [], n_shared / n_today
    for salt in range(150):
        today, before = ids(0, n_today, salt), ids(n_today - n_shared, n_today - n_shared + n_earlier, salt)
        found.append(shared_frac(sketch_of(today), sketch_of(before)))
    # As many of today's hashes are within reach as the larger set leaves.
    spread = np.sqrt(share * (1 - share) / (SKETCH_SIZE * min(1, n_today / n_earlier)))
    assert np.mean(found) == pytest.approx(share, abs=4 * spread / np.sqrt(150) + 1e-12)
    assert np.std(found) <= 1.35 * spread + 1e-12


def test_the_order_of_the_samples_says_nothing() -> None:
    names = ids(0, 200)
    assert sketch_of(names) == sketch_of(names[::-1])


def test_the_ids_are_not_kept() -> None:
    sketch = sketch_of(ids(0, 200))
    assert (sketch.n, len(sketch.smallest)) == (200, SKETCH_SIZE)
    assert not {name[:16] for name in ids(0, 200)} & set(sketch.smallest)
    assert len(sketch.model_dump_json()) < 1_300


def test_what_may_have_been_seen_counts_as_seen() -> None:
    """Of one sample and a set of thousands nothing is known where the sample's hash is out of reach."""
    large = sketch_of(ids(0, 5_000))
    outside = next(name for name in ids(5_000, 5_100) if sketch_of([name]).smallest[0] > large.smallest[-1])
    assert shared_frac(sketch_of([outside]), large) == 1


@pytest.mark.parametrize("wrong", [{"n": 0, "smallest": ["0" * 16]}, {"n": 3, "smallest": []}, {"n": 3, "smallest": ["sample"]}])
def test_a_sketch_that_is_none_does_not_load(wrong: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        SampleSketch.model_validate(wrong)
