from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest

from pipelines.input_files import Unusable
from pipelines.modalities.audio_inputs import SoundFile, inspect_sound, stated_length
from tests.pipelines.tiny_sounds import as_file, sound


def inspected(content: bytes) -> SoundFile:
    found = inspect_sound(content)
    assert isinstance(found, SoundFile)
    return found


def test_says_what_the_file_holds() -> None:
    samples = 0.5 * np.sin(2 * np.pi * 440 * np.arange(22_050) / 44_100)
    content = as_file(samples, 44_100)
    found = inspected(content)
    assert found.id == hashlib.sha256(content).hexdigest()
    assert (found.seconds, found.rate_hz, found.n_samples, found.n_bytes, found.extension) == (0.5, 44_100, 22_050, len(content), ".wav")
    # The root mean square of a sine of amplitude 0.5.
    assert found.loudness_db == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.1)
    assert found.clipped_frac == 0


def test_silence_and_clipping_are_shares() -> None:
    half = np.concatenate([np.zeros(8_000), np.sign(np.sin(np.arange(8_000) / 9.0))])
    found = inspected(as_file(half, subtype="FLOAT"))
    assert found.silent_frac == pytest.approx(0.5, abs=0.01)
    assert found.clipped_frac == pytest.approx(0.5, abs=0.01)
    assert inspected(as_file(np.zeros(16_000))).loudness_db == -120


def test_a_copy_in_another_lossless_format_has_the_same_digest() -> None:
    plain, other = sound("low", 1), sound("low", 3)
    digests = [inspected(as_file(plain, kind=kind, subtype="PCM_16")).sound_digest for kind in ("WAV", "FLAC")]
    assert digests[0] == digests[1]
    assert inspected(as_file(other)).sound_digest != digests[0]
    # The same numbers at another rate are another sound.
    assert inspected(as_file(plain, 8_000)).sound_digest != digests[0]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "0 bytes that do not open as a sound file"),
        (b"RIFF" + b"\0" * 40, "do not open as a sound file"),
        (as_file(np.zeros(0)), "without a sample of sound"),
        (as_file(sound("low", 1), kind="FLAC")[:700], "a sound file"),
        (as_file(np.full(16_000, np.nan), subtype="FLOAT"), "no finite numbers"),
        (as_file(np.zeros(1_000 * 700), 1_000), "a sound file of 700 s"),
    ],
)
def test_what_is_no_sound_is_said(content: bytes, said: str) -> None:
    found = inspect_sound(content)
    assert isinstance(found, Unusable)
    assert said in found.problem


def test_the_header_states_rate_and_length(tmp_path: Path) -> None:
    (tmp_path / "a.flac").write_bytes(as_file(sound("low", 1, 8_000), 8_000, "FLAC"))
    (tmp_path / "b.wav").write_bytes(b"RIFF")
    assert stated_length(tmp_path / "a.flac") == (8_000, len(sound("low", 1, 8_000)))
    assert stated_length(tmp_path / "b.wav") is None
    assert stated_length(tmp_path / "none.wav") is None
