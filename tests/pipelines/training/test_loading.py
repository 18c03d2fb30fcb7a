from __future__ import annotations

import itertools
import math
import threading
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from pipelines.core.errors import DataError
from pipelines.dataset import Sample
from pipelines.training import loading
from pipelines.training.loading import loaded_batches, usable_cores
from tests.pipelines.training.photos import photos


@dataclass
class Numbers:
    """Sample number i is an image full of i; `delays` makes some of them slow, `bad` raises."""

    n: int = 1_000
    bad: int | None = None
    delays: bool = False
    shape: tuple[int, ...] = (3, 2, 2)
    asked: list[int] = field(default_factory=list)
    samples: Sequence[Sample] = ()
    targets: NDArray[Any] = field(default_factory=lambda: np.empty(0))

    def __len__(self) -> int:
        return self.n

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        self.asked.extend(int(index) for index in indices)
        if self.delays:
            time.sleep(0.002 * (int(indices[0]) % 3))
        if self.bad in indices:
            raise DataError(got=f"sample {self.bad}.", allowed="good ones.", next_step="remove it.")
        return np.stack([np.full(self.shape, index, np.float32) for index in indices])


def places(*sizes: int) -> list[NDArray[np.int64]]:
    bounds = [0, *itertools.accumulate(sizes)]
    return [np.arange(start, stop) for start, stop in itertools.pairwise(bounds)]


def loaders() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name.startswith("regraft-loading")]


@settings(max_examples=30)
@given(sizes=st.lists(st.integers(1, 90), max_size=8), n_workers=st.integers(1, 5))
def test_every_batch_comes_whole_and_in_order(sizes: list[int], n_workers: int) -> None:
    source, wanted = Numbers(delays=True), places(*sizes)
    batches = list(loaded_batches(source, wanted, n_workers=n_workers, device="cpu"))
    assert len(batches) == len(wanted)
    for batch, indices in zip(batches, wanted, strict=True):
        assert torch.equal(batch, torch.from_numpy(source.batch(indices)))
        assert batch.is_contiguous(memory_format=torch.channels_last)


def test_activations_of_any_shape_come_as_they_are() -> None:
    (batch,) = loaded_batches(Numbers(shape=(5,)), places(70), n_workers=2, device="cpu")
    assert batch.shape == (70, 5)
    assert batch.is_contiguous()


def test_real_photos_equal_the_source(tmp_path: Path) -> None:
    inputs = photos(tmp_path, range(40))
    order = np.random.default_rng(0).permutation(40)
    (batch,) = loaded_batches(inputs, [order], n_workers=None, device="cpu")
    assert torch.equal(batch, torch.from_numpy(photos(tmp_path, range(40)).batch(order)))


@pytest.mark.parametrize("n_workers", [1, 4])
def test_an_error_comes_in_the_place_of_its_batch(n_workers: int) -> None:
    loaded = loaded_batches(Numbers(bad=75, delays=True), places(10, 40, 30, 10), n_workers=n_workers, device="cpu")
    assert next(loaded)[0, 0, 0, 0] == 0
    assert len(next(loaded)) == 40
    with pytest.raises(DataError, match="sample 75"):
        next(loaded)
    assert not loaders()
    assert next(loaded, None) is None


def test_it_reads_a_few_batches_ahead_and_no_more() -> None:
    source = Numbers()
    taken = []

    def endless() -> Any:
        for start in itertools.count(0, 8):
            taken.append(start)
            yield np.arange(start, start + 8)

    with closing(loaded_batches(source, endless(), n_workers=2, device="cpu")) as loaded:
        next(loaded)
        assert loaders()
        waited_until = time.monotonic() + 60
        while max(source.asked) < 8:  # of the second batch, which nobody has asked for
            assert time.monotonic() < waited_until
            time.sleep(0.01)
        assert len(taken) <= 6
        assert max(source.asked) < 48
    assert not loaders()


def consume(how: str) -> None:
    with closing(loaded_batches(Numbers(), places(*[8] * 50), n_workers=3, device="cpu")) as loaded:
        for _ in loaded:
            if how == "stop":
                return
            raise ZeroDivisionError("its own")


def test_a_consumer_that_fails_or_stops_leaves_no_thread() -> None:
    with pytest.raises(ZeroDivisionError, match="its own"):
        consume("fail")
    assert not loaders()
    consume("stop")
    assert not loaders()


def test_nothing_starts_before_the_first_batch_is_asked_for() -> None:
    source = Numbers()
    loaded_batches(source, places(8), n_workers=1, device="cpu")
    assert not source.asked


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device: with one this would show that batches lie in pinned memory")
def test_memory_is_pinned_for_cuda() -> None:
    (batch,) = loaded_batches(Numbers(), places(40), n_workers=2, device="cuda")
    assert batch.is_pinned()
    assert batch.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "150000 100000"}, 1.5),
        ({"cpu.max": "max 100000"}, math.inf),
        ({"cpu/cpu.cfs_quota_us": "400000", "cpu/cpu.cfs_period_us": "100000"}, 4),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, math.inf),
        ({"cpu.max": "nonsense"}, math.inf),
        ({}, math.inf),
    ],
)
def test_a_containers_share_is_read(tmp_path: Path, files: dict[str, str], cores: float) -> None:
    (tmp_path / "cpu").mkdir()
    for name, content in files.items():
        (tmp_path / name).write_text(content + "\n")
    assert loading._quota_cores(tmp_path) == cores


def test_usable_cores_are_those_of_the_affinity_and_the_share(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(8)), raising=False)
    monkeypatch.setattr(loading, "_CGROUP", tmp_path)
    assert usable_cores() == 8
    (tmp_path / "cpu.max").write_text("250000 100000\n")
    assert usable_cores() == 3
    (tmp_path / "cpu.max").write_text("10000 100000\n")
    assert usable_cores() == 1


@dataclass
class Sounds(Numbers):
    """Sample number i has i % 3 + 1 patches full of i; a batch is padded with patches of NaN to the most among its own."""

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        most = max(int(index) % 3 + 1 for index in indices)
        made = np.full((len(indices), most, 1, 2, 2), np.nan, np.float32)
        for row, index in zip(made, indices, strict=True):
            row[: int(index) % 3 + 1] = index
        return made


@pytest.mark.parametrize("n_workers", [1, 3])
def test_parts_of_a_batch_of_sounds_may_have_different_numbers_of_patches(n_workers: int) -> None:
    """The first 32 have one patch each, and one of those that another thread loads has three."""
    chosen = np.array([*range(0, 96, 3), 2, 3, 4])
    sounds = Sounds()
    [batch] = loaded_batches(sounds, [chosen], n_workers=n_workers, device="cpu")
    np.testing.assert_array_equal(batch.numpy(), sounds.batch(chosen))
    assert batch.shape == (35, 3, 1, 2, 2)
