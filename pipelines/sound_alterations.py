"""Changes of sounds: a sound as its file has it in, another file out. Letters for shapes: n samples of sound."""

from __future__ import annotations

import io

import numpy as np
from numpy.typing import NDArray

from pipelines.core.sound_files import Sound

_ORDER = 6


def as_wav(samples: NDArray[np.floating], rate_hz: int) -> bytes:
    """A mono WAV file of 32-bit floats, which cut nothing off."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.asarray(samples, dtype=np.float32), rate_hz, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def with_sound_noise(sound: Sound, signal_to_noise_db: float, rng: np.random.Generator) -> bytes:
    """White noise at a level below the sound's own."""
    samples = sound.samples.astype(np.float64)
    level = float(np.sqrt(np.mean(samples**2))) * 10 ** (-signal_to_noise_db / 20)
    return as_wav(samples + level * rng.standard_normal(len(samples)), sound.file_rate_hz)


def quieter(sound: Sound, decibels: float, _: np.random.Generator) -> bytes:
    """The sound turned down."""
    return as_wav(sound.samples * 10 ** (-decibels / 20), sound.file_rate_hz)


def muffled(sound: Sound, nyquist_frac: float, _: np.random.Generator) -> bytes:
    """Without its high tones, as through a wall or a telephone: a Butterworth low-pass filter, forward and backward."""
    from scipy.signal import butter, sosfiltfilt

    sections = butter(_ORDER, nyquist_frac, output="sos")
    # A file of a few samples has no beginning and end that could be mirrored.
    padding = min(len(sound.samples) - 1, 3 * (2 * len(sections) + 1))
    return as_wav(sosfiltfilt(sections, sound.samples, padlen=padding), sound.file_rate_hz)
