"""Log-mel spectrograms, in NumPy: the same numbers in training and at the endpoint, and librosa's to 1e-4.

Letters for shapes: n samples of sound, t frames, f frequencies of the transform, m mel bands.
"""

from __future__ import annotations

import functools
from typing import Annotated, Literal

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

MelScale = Literal["slaney", "htk", "tensorflow"]
# Frames that are transformed at once: 8 MB of a transform of 512 points.
_FRAMES_AT_ONCE = 4_096


class LogMelSpec(BaseModel):
    """How sound becomes a log-mel spectrogram. The defaults are those of YAMNet.

    Attributes:
        window_samples: Length of the Hann window (periodic).
        hop_samples: From one frame to the next.
        n_fft: Points of the transform; the window is followed by zeros up to it.
        n_mels: Mel bands.
        f_min_hz, f_max_hz: Lowest edge of the lowest band and highest edge of the highest.
        mel_scale: `slaney` and `htk` as librosa has them: triangles over hertz, those of `slaney` with equal area. `tensorflow`: triangles
            over htk's mels, and no constant part.
        power: 1 for magnitudes, 2 for energies.
        offset: Added before the logarithm.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    window_samples: Annotated[int, Field(ge=16, le=16_384)] = 400
    hop_samples: Annotated[int, Field(ge=1, le=16_384)] = 160
    n_fft: Annotated[int, Field(ge=16, le=16_384)] = 512
    n_mels: Annotated[int, Field(ge=8, le=512)] = 64
    f_min_hz: Annotated[float, Field(ge=0)] = 125.0
    f_max_hz: Annotated[float, Field(gt=0)] = 7_500.0
    mel_scale: MelScale = "tensorflow"
    power: Literal[1, 2] = 1
    offset: Annotated[float, Field(gt=0)] = 1e-3

    @model_validator(mode="after")
    def _window_fits(self) -> LogMelSpec:
        if self.window_samples > self.n_fft:
            raise ValueError(f"window_samples is {self.window_samples}; it must not be more than n_fft, {self.n_fft}")
        if self.f_min_hz >= self.f_max_hz:
            raise ValueError(f"f_min_hz is {self.f_min_hz:g}; it must be below f_max_hz, {self.f_max_hz:g}")
        return self

    def n_frames(self, n_samples: int) -> int:
        """Whole windows in so many samples; 0 where not even one fits."""
        return max(0, 1 + (n_samples - self.window_samples) // self.hop_samples)


def log_mel(sound: NDArray[np.float32], sample_rate_hz: int, spec: LogMelSpec) -> NDArray[np.float32]:
    """Natural logarithm of the mel bands' magnitudes or energies. Only whole windows are frames: nothing is made up at the ends.

    Args:
        sound: float32 [n], mono, in [-1, 1].
        sample_rate_hz: Of the sound.
        spec: Window, bands and offset.

    Returns:
        float32 [t, m].
    """
    n_frames = spec.n_frames(len(sound))
    filters = mel_filters(sample_rate_hz, spec)
    rows = np.empty((n_frames, spec.n_mels), np.float32)
    if n_frames:
        frames = sliding_window_view(sound, spec.window_samples)[:: spec.hop_samples]
        for start in range(0, n_frames, _FRAMES_AT_ONCE):
            windowed = frames[start : start + _FRAMES_AT_ONCE] * hann_window(spec.window_samples)
            magnitudes = np.abs(np.fft.rfft(windowed, spec.n_fft, axis=1))
            rows[start : start + _FRAMES_AT_ONCE] = np.log(magnitudes**spec.power @ filters.T + np.float32(spec.offset))
    return rows


@functools.cache
def hann_window(n_samples: int) -> NDArray[np.float32]:
    """float32 [n], periodic: as `scipy.signal.get_window("hann", n)`."""
    return (0.5 - 0.5 * np.cos(2 * np.pi * np.arange(n_samples) / n_samples)).astype(np.float32)


@functools.lru_cache(maxsize=16)
def mel_filters(sample_rate_hz: int, spec: LogMelSpec) -> NDArray[np.float32]:
    """float32 [m, f]: the weight of each frequency in each band (O'Shaughnessy's scale for htk, Slaney's for slaney)."""
    frequencies = np.fft.rfftfreq(spec.n_fft, 1 / sample_rate_hz).astype(np.float64)
    to_mel, to_hz = (_slaney_mel, _slaney_hz) if spec.mel_scale == "slaney" else (_htk_mel, _htk_hz)
    edges = np.linspace(to_mel(np.array(spec.f_min_hz)), to_mel(np.array(spec.f_max_hz)), spec.n_mels + 2)
    if spec.mel_scale == "tensorflow":
        weights = _triangles(_htk_mel(frequencies), edges)
        weights[:, 0] = 0
        return weights.astype(np.float32)
    edges_hz = to_hz(edges)
    weights = _triangles(frequencies, edges_hz)
    if spec.mel_scale == "slaney":
        weights *= (2 / (edges_hz[2:] - edges_hz[:-2]))[:, None]
    return weights.astype(np.float32)


def _triangles(places: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.float64]:
    low, centre, high = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.maximum(0, np.minimum((places - low) / (centre - low), (high - places) / (high - centre)))


def _htk_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return 2595 * np.log10(1 + hz / 700)


def _htk_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.asarray(700 * (10 ** (mel / 2595) - 1))


# Slaney's Auditory Toolbox: linear up to 1 kHz, 27 steps to each factor of 6.4 above.
_LINEAR_HZ, _LINEAR_MEL, _LOG_STEP = 200 / 3, 15.0, np.log(6.4) / 27


def _slaney_mel(hz: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(hz < 1_000, hz / _LINEAR_HZ, _LINEAR_MEL + np.log(np.maximum(hz, 1) / 1_000) / _LOG_STEP)


def _slaney_hz(mel: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(mel < _LINEAR_MEL, mel * _LINEAR_HZ, 1_000 * np.exp(_LOG_STEP * (mel - _LINEAR_MEL)))
