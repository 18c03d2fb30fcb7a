from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from pipelines.core.bundle import file_sha256
from pipelines.dataset import Sample, write_samples
from pipelines.near_duplicate_sounds import SIDE, sound_thumbnail
from pipelines.near_duplicates import find_near_duplicates, read_pairs
from tests.pipelines.tiny_sounds import as_file

RATE = 16_000


def scene(seed: int) -> NDArray[np.float64]:
    """Some tones that come and go, over noise: different for each seed."""
    rng = np.random.default_rng(seed)
    times = np.arange(int(RATE * rng.uniform(1, 3))) / RATE
    parts = 0.003 * rng.standard_normal(len(times))
    for _ in range(5):
        middle, width, hz = rng.uniform(0, times[-1]), rng.uniform(0.05, 0.4), np.exp(rng.uniform(np.log(150), np.log(6_000)))
        parts += 0.15 * np.exp(-(((times - middle) / width) ** 2)) * np.sin(2 * np.pi * hz * times)
    return np.asarray(parts)


def copies(seed: int) -> list[bytes]:
    samples = scene(seed)
    return [as_file(samples, kind="OGG"), as_file(samples * 0.6), as_file(resample_poly(samples, 441, 160), 44_100)]


def test_saved_again_quieter_or_resampled_they_are_found_and_others_are_not(tmp_path: Path) -> None:
    files = {f"scene-{seed:02d}.wav": as_file(scene(seed)) for seed in range(60)}
    planted = {f"copy-{seed:02d}-{number}": content for seed in range(12) for number, content in enumerate(copies(seed))}
    data = tmp_path / "data"
    data.mkdir()
    samples = []
    for name, content in {**files, **planted}.items():
        (data / name).write_bytes(content)
        split = "test" if name in planted else "train"
        samples.append(Sample(id=file_sha256(data / name), path=name, label="a", group="", domain="d", arrival="", split=split))
    write_samples(samples, tmp_path / "samples.csv")
    (tmp_path / "out").mkdir()
    find_near_duplicates(tmp_path / "samples.csv", data, tmp_path / "out", "audio")
    pairs = {(pair.path, pair.other_path) for pair in read_pairs(tmp_path / "out" / "near_duplicates.csv") if pair.leaks}
    assert pairs == {(name, f"scene-{name[5:7]}.wav") for name in planted}


def test_silence_and_a_click_have_thumbnails() -> None:
    assert not sound_thumbnail(as_file(np.zeros(16_000))).any()
    assert sound_thumbnail(as_file(np.array([0.5]))).shape == (SIDE, SIDE)
