from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from pipelines.core.errors import IntegrityError
from pipelines.core.preprocess import preprocess
from pipelines.training import inputs as module
from tests.pipelines.training.photos import COLOUR, photo, photos


def test_a_batch_is_what_the_endpoint_makes_of_the_files(tmp_path: Path) -> None:
    inputs = photos(tmp_path, range(5))
    for _ in ("decoded", "kept"):
        batch = inputs.batch([3, 1])
        assert np.array_equal(batch, preprocess([photo(3), photo(1)], COLOUR))
        assert torch.from_numpy(batch).is_contiguous(memory_format=torch.channels_last)


def test_a_batch_may_be_written_to_without_changing_what_is_kept(tmp_path: Path) -> None:
    inputs = photos(tmp_path, range(2))
    first = inputs.batch([0]).copy()
    inputs.batch([0])[:] = 0
    assert np.array_equal(inputs.batch([0]), first)


def test_threads_get_the_same_and_keep_each_image_once(tmp_path: Path) -> None:
    inputs = photos(tmp_path, range(12))
    expected = preprocess([photo(seed) for seed in range(12)], COLOUR)
    with ThreadPoolExecutor(8) as pool:
        batches = list(pool.map(lambda _: inputs.batch(range(12)), range(24)))
    assert all(np.array_equal(batch, expected) for batch in batches)
    assert inputs._kept._n_bytes == 12 * 32 * 32 * 3


def test_what_is_kept_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_CACHE_BYTES", 3 * 32 * 32 * 3)
    inputs = photos(tmp_path, range(8))
    assert np.array_equal(inputs.batch(range(8)), preprocess([photo(seed) for seed in range(8)], COLOUR))
    assert len(inputs._kept._arrays) == 3


def test_a_file_that_changed_is_refused(tmp_path: Path) -> None:
    inputs = photos(tmp_path, range(2))
    (tmp_path / "1.png").write_bytes(photo(7))
    with pytest.raises(IntegrityError, match=r"1\.png of the data that changed since it was listed"):
        inputs.batch([0, 1])
