from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from numpy.typing import NDArray

from pipelines.core.errors import DataError
from pipelines.core.sound_files import read_sound
from pipelines.sound_alterations import muffled, quieter, with_sound_noise
from tests.pipelines.tiny_sounds import as_file

RATE = 16_000
RNG = np.random.default_rng


def tone(hz: float, seconds: float = 1.0) -> NDArray[np.float64]:
    return 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * RATE)) / RATE)


def read(content: bytes) -> NDArray[np.float64]:
    samples, rate = soundfile.read(io.BytesIO(content))
    assert rate == RATE
    return np.asarray(samples, dtype=np.float64)


def level(samples: NDArray[np.float64]) -> float:
    return float(np.sqrt(np.mean(samples**2)))


@pytest.mark.parametrize("decibels", [20.0, 10.0, 0.0])
def test_noise_is_as_far_below_the_sound_as_said(decibels: float) -> None:
    plain = read_sound(as_file(tone(440), subtype="FLOAT"))
    noise = read(with_sound_noise(plain, decibels, RNG(0))) - plain.samples
    assert 20 * np.log10(level(tone(440)) / level(noise)) == pytest.approx(decibels, abs=0.2)
    assert abs(float(np.corrcoef(noise[1:], noise[:-1])[0, 1])) < 0.05  # white


def test_quieter_by_so_many_decibels() -> None:
    plain = read_sound(as_file(tone(440), subtype="FLOAT"))
    np.testing.assert_allclose(read(quieter(plain, 20, RNG(0))), tone(440) / 10, atol=1e-6)


def test_muffled_loses_high_tones_and_keeps_low_ones() -> None:
    both = read_sound(as_file(tone(300) / 2 + tone(6_000) / 2, subtype="FLOAT"))
    kept = read(muffled(both, 0.25, RNG(0)))  # up to 2,000 Hz
    middle = slice(RATE // 10, -RATE // 10)
    np.testing.assert_allclose(kept[middle], (tone(300) / 2)[middle], atol=5e-3)


def test_a_file_of_three_samples_is_muffled_too() -> None:
    assert len(read(muffled(read_sound(as_file(np.array([0.1, 0.2, 0.1]))), 0.25, RNG(0)))) == 3


def test_silence_stays_silence() -> None:
    plain = read_sound(as_file(np.zeros(100)))
    assert not read(with_sound_noise(plain, 0, RNG(0))).any()


@pytest.mark.parametrize("rate_hz", [1_000, 8_000, 22_050, 44_100])
def test_a_file_of_any_rate_is_altered_and_keeps_its_rate(rate_hz: int) -> None:
    plain = read_sound(as_file(tone(440), rate_hz))
    for alter, strength in ((with_sound_noise, 10.0), (quieter, 20.0), (muffled, 0.5)):
        assert read_sound(alter(plain, strength, RNG(0))).file_rate_hz == rate_hz
    with pytest.raises(DataError, match="do not open as a sound file"):
        read_sound(b"no sound")
