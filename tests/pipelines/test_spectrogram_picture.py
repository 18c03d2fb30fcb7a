from __future__ import annotations

import numpy as np
import pytest

from pipelines.core.errors import ConfigurationError
from pipelines.core.modalities.audio import AudioModality, AudioPreprocess
from pipelines.core.modalities.image import ImageModality
from pipelines.core.preprocess import ImagePreprocess
from pipelines.excerpts import excerpt_of
from pipelines.spectrogram_picture import spectrogram_picture
from tests.pipelines.tiny_sounds import as_file

HEARD = AudioModality(AudioPreprocess())


def test_time_goes_right_and_tones_go_up() -> None:
    times = np.arange(16_000) / 16_000
    first_low_then_high = np.where(times < 0.5, np.sin(2 * np.pi * 200 * times), np.sin(2 * np.pi * 5_000 * times))
    picture = spectrogram_picture(as_file(0.5 * first_low_then_high), HEARD)
    left, right = picture[:, : picture.shape[1] // 3].mean(axis=1), picture[:, -picture.shape[1] // 3 :].mean(axis=1)
    assert left.argmax() > picture.shape[0] * 3 // 4  # at the bottom
    assert right.argmax() < picture.shape[0] // 4
    assert (picture.min(), picture.max()) == (0, 255)


def test_long_sounds_and_silence_have_pictures() -> None:
    assert spectrogram_picture(as_file(np.random.default_rng(0).normal(0, 0.1, 60 * 16_000)), HEARD).shape == (64, 1_024)
    assert not spectrogram_picture(as_file(np.zeros(100)), HEARD).any()


def test_an_excerpt_is_a_picture() -> None:
    shown = excerpt_of(as_file(np.sin(np.arange(16_000) / 9.0)), HEARD)
    assert shown is not None
    assert shown.picture.startswith("data:image/png;base64,")
    assert excerpt_of(b"no sound", HEARD) is None


def test_of_pictures_there_is_none() -> None:
    with pytest.raises(ConfigurationError, match="a spectrogram of image inputs"):
        spectrogram_picture(b"", ImageModality(ImagePreprocess(color="L", height_px=8, width_px=8, mean=(0.0,), std=(1.0,))))
