"""What a sound is like, in numbers: the monitor compares them. Letters for shapes: n samples of sound."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from pipelines.core.sound_files import Sound

# The order is the order of the columns in a bundle's reference.
AUDIO_STATISTICS = (
    *("log2_seconds", "loudness_db", "peak_db", "clipped_frac", "silent_frac"),
    *("zero_crossing_frac", "log2_centroid_hz", "log2_rate_hz"),
)
_QUIETEST_DB = -120.0
_SILENT = 10 ** (-60 / 20)


def sound_statistics(sound: Sound, sample_rate_hz: int) -> NDArray[np.float32]:
    """Statistics of a decoded file.

    Returns:
        float32 [8], finite, in the order of `AUDIO_STATISTICS`: log2 of the seconds; root mean square and peak in decibels below full
        scale, at least -120; shares of samples at full scale, and below -60 dB; share of neighbours with another sign; log2 of the
        centroid of the mean energy spectrum in hertz; log2 of the file's own rate.
    """
    samples = sound.samples.astype(np.float64)
    loudness, peak = float(np.sqrt(np.mean(samples**2))), float(np.abs(samples).max())
    crossings = float(np.mean(np.signbit(samples[1:]) != np.signbit(samples[:-1]))) if len(samples) > 1 else 0.0
    values = (
        np.log2(len(samples) / sample_rate_hz),
        _decibels(loudness),
        _decibels(peak),
        sound.clipped_frac,
        float(np.mean(np.abs(samples) < _SILENT)),
        crossings,
        np.log2(max(1.0, _centroid_hz(samples, sample_rate_hz))),
        np.log2(sound.file_rate_hz),
    )
    return np.array(values, dtype=np.float32)


def _decibels(level: float) -> float:
    return max(_QUIETEST_DB, float(20 * np.log10(level))) if level > 0 else _QUIETEST_DB


def _centroid_hz(samples: NDArray[np.float64], sample_rate_hz: int) -> float:
    size = 1_024
    padded = np.pad(samples, (0, -len(samples) % size)).reshape(-1, size)
    energy = (np.abs(np.fft.rfft(padded, axis=1)) ** 2).mean(axis=0)
    total = float(energy.sum())
    return float(energy @ np.fft.rfftfreq(size, 1 / sample_rate_hz)) / total if total > 0 else 0.0
