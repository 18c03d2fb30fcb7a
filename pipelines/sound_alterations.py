"""Changes of sounds: a file in, another one out. Letters for shapes: n samples of sound."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pipelines.core.modalities.audio import AudioModality, AudioPreprocess

_ORDER = 6


@dataclass(frozen=True)
class PlainSound:
    """A sound at the rate of its file.

    Attributes:
        samples: float32 [n], mono.
        rate_hz: Samples a second.
    """

    samples: NDArray[np.float32]
    rate_hz: int


def as_sound(content: bytes) -> PlainSound:
    """Decodes a file as the inference core does, and keeps its rate.

    Raises:
        DataError: The bytes are no sound file.
    """
    rate = AudioModality(AudioPreprocess()).file_rate_hz(content)
    return PlainSound(AudioModality(AudioPreprocess(sample_rate_hz=rate)).decode(content).samples, rate)


def as_wav(samples: NDArray[np.floating], rate_hz: int) -> bytes:
    """A mono WAV file of 32-bit floats, which cut nothing off."""
    import soundfile

    buffer = io.BytesIO()
    soundfile.write(buffer, np.asarray(samples, dtype=np.float32), rate_hz, format="WAV", subtype="FLOAT")
    return buffer.getvalue()


def with_sound_noise(sound: PlainSound, signal_to_noise_db: float, rng: np.random.Generator) -> bytes:
    """White noise at a level below the sound's own."""
    samples = sound.samples.astype(np.float64)
    level = float(np.sqrt(np.mean(samples**2))) * 10 ** (-signal_to_noise_db / 20)
    return as_wav(samples + level * rng.standard_normal(len(samples)), sound.rate_hz)


def quieter(sound: PlainSound, decibels: float, _: np.random.Generator) -> bytes:
    """The sound turned down."""
    return as_wav(sound.samples * 10 ** (-decibels / 20), sound.rate_hz)


def muffled(sound: PlainSound, nyquist_frac: float, _: np.random.Generator) -> bytes:
    """Without its high tones, as through a wall or a telephone: a Butterworth low-pass filter, forward and backward."""
    from scipy.signal import butter, sosfiltfilt

    sections = butter(_ORDER, nyquist_frac, output="sos")
    # A file of a few samples has no beginning and end that could be mirrored.
    padding = min(len(sound.samples) - 1, 3 * (2 * len(sections) + 1))
    return as_wav(sosfiltfilt(sections, sound.samples, padlen=padding), sound.rate_hz)
