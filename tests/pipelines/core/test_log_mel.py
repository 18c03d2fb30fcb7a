from __future__ import annotations

import json
from pathlib import Path

import librosa
import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError
from scipy import signal

from pipelines.core.log_mel import LogMelSpec, hann_window, log_mel, mel_filters

RATE = 16_000


def noise(n_samples: int = RATE, seed: int = 0) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    tone = np.sin(2 * np.pi * 440 * np.arange(n_samples) / RATE)
    return (0.3 * tone + 0.1 * rng.standard_normal(n_samples)).astype(np.float32)


@pytest.mark.parametrize(("scale", "norm"), [("slaney", "slaney"), ("htk", None)])
@pytest.mark.parametrize("power", [1, 2])
def test_agrees_with_librosa(scale: str, norm: str | None, power: int) -> None:
    spec = LogMelSpec(mel_scale=scale, power=power, n_mels=40, f_min_hz=50, f_max_hz=7_900, window_samples=512)
    theirs = librosa.feature.melspectrogram(
        y=noise(),
        sr=RATE,
        n_fft=512,
        hop_length=160,
        center=False,
        power=power,
        n_mels=40,
        fmin=50,
        fmax=7_900,
        htk=scale == "htk",
        norm=norm,
    )
    np.testing.assert_allclose(log_mel(noise(), RATE, spec), np.log(theirs.T + 1e-3), atol=1e-4)


def test_agrees_with_librosa_where_zeros_follow_the_window() -> None:
    # librosa centres a short window within the transform, which turns phases and leaves magnitudes; so its frames begin 56 samples earlier.
    spec = LogMelSpec(mel_scale="htk")
    padded = np.pad(noise(), (56, 56))
    theirs = librosa.feature.melspectrogram(
        y=padded,
        sr=RATE,
        n_fft=512,
        win_length=400,
        hop_length=160,
        center=False,
        power=1,
        n_mels=64,
        fmin=125,
        fmax=7_500,
        htk=True,
        norm=None,
    )
    ours = log_mel(noise(), RATE, spec)
    np.testing.assert_allclose(ours, np.log(theirs.T[: len(ours)] + 1e-3), atol=1e-4)


def test_the_window_is_periodic_as_scipys() -> None:
    np.testing.assert_allclose(hann_window(400), signal.get_window("hann", 400), atol=1e-6)


@pytest.mark.shared("that YAMNet's own mel matrix and window are ours")
def test_is_the_front_end_that_yamnet_was_trained_with(shared_dir: Path) -> None:
    stored = np.load(shared_dir / "weights" / "mobilenetv1_100.yamnet_frontend.npz")
    spec = LogMelSpec()
    np.testing.assert_allclose(mel_filters(RATE, spec), stored["mel"], atol=1e-6)
    np.testing.assert_allclose(hann_window(400), stored["window"], atol=1e-6)
    assert stored["mel_bias"] == pytest.approx(spec.offset)
    assert "frame 400" in json.loads((shared_dir / "weights" / "mobilenetv1_100.yamnet_audioset.json").read_text())["input"]


def test_a_slow_reference_of_one_frame() -> None:
    sound = noise(400)
    transformed = [sum(sound[n] * hann_window(400)[n] * np.exp(-2j * np.pi * k * n / 512) for n in range(400)) for k in range(257)]
    expected = np.log(mel_filters(RATE, LogMelSpec()) @ np.abs(transformed) + 1e-3)
    np.testing.assert_allclose(log_mel(sound, RATE, LogMelSpec())[0], expected, atol=1e-4)


@pytest.mark.parametrize(("n_samples", "n_frames"), [(0, 0), (399, 0), (400, 1), (559, 1), (560, 2), (16_000, 98)])
def test_only_whole_windows_are_frames(n_samples: int, n_frames: int) -> None:
    assert log_mel(noise(n_samples), RATE, LogMelSpec()).shape == (n_frames, 64)
    assert LogMelSpec().n_frames(n_samples) == n_frames


def test_many_frames_are_the_same_as_few() -> None:
    spec = LogMelSpec(hop_samples=10)
    sound = noise(60_000)
    rows = log_mel(sound, RATE, spec)
    assert len(rows) > 4_096
    np.testing.assert_allclose(rows[5_000], log_mel(sound[50_000:50_400], RATE, spec)[0], atol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"), [({"window_samples": 600}, "must not be more than n_fft"), ({"f_min_hz": 7_500}, "below f_max_hz")]
)
def test_specs_that_make_no_sense_are_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LogMelSpec(**change)
