from __future__ import annotations

import io

import numpy as np
import pytest
import soundfile
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from pydantic import ValidationError

from pipelines.core.errors import DataError
from pipelines.core.log_mel import log_mel
from pipelines.core.modalities.audio import AudioModality, AudioPreprocess, bucket_patches, spread_evenly
from pipelines.core.sound_statistics import AUDIO_STATISTICS
from tests.pipelines.core.ogg_files import pages_of, with_position

SPEC = AudioPreprocess()
AUDIO = AudioModality(SPEC)


def tone(seconds: float = 1.0, rate: int = 16_000, hz: float = 440, level: float = 0.5) -> NDArray[np.float32]:
    return (level * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def as_file(samples: NDArray[np.float32], rate: int = 16_000, kind: str = "WAV", subtype: str | None = None) -> bytes:
    buffer = io.BytesIO()
    soundfile.write(buffer, samples, rate, format=kind, subtype=subtype)
    return buffer.getvalue()


def statistics(data: bytes) -> dict[str, float]:
    return dict(zip(AUDIO_STATISTICS, AUDIO.input_statistics(AUDIO.decode(data)).tolist(), strict=True))


@pytest.mark.parametrize(
    ("kind", "subtype", "tolerance"), [("WAV", "PCM_16", 1e-4), ("WAV", "FLOAT", 0), ("FLAC", None, 1e-4), ("OGG", None, 0.05)]
)
def test_wav_flac_and_ogg_hold_the_same_sound(kind: str, subtype: str | None, tolerance: float) -> None:
    sound = AUDIO.decode(as_file(tone(), kind=kind, subtype=subtype))
    np.testing.assert_allclose(sound.samples, tone(), atol=tolerance)


def test_channels_are_averaged() -> None:
    left, right = tone(level=0.4), tone(hz=880, level=0.2)
    sound = AUDIO.decode(as_file(np.stack([left, right], axis=1), subtype="FLOAT"))
    np.testing.assert_allclose(sound.samples, (left + right) / 2, atol=1e-6)


@pytest.mark.parametrize("rate", [8_000, 11_025, 22_050, 44_100, 48_000])
def test_another_rate_is_resampled(rate: int) -> None:
    sound = AUDIO.decode(as_file(tone(rate=rate), rate))
    assert (sound.file_rate_hz, abs(len(sound.samples) - 16_000) <= 2) == (rate, True)
    middle = slice(2_000, 14_000)
    np.testing.assert_allclose(sound.samples[middle], tone()[middle], atol=2e-3)


def test_patches_are_the_spectrogram_cut_up() -> None:
    array = AUDIO.to_array(AUDIO.decode(as_file(tone(3), subtype="FLOAT")))
    whole = log_mel(np.pad(tone(3), (0, 16_000)), 16_000, SPEC.log_mel)
    assert array.shape == (6, 1, 96, 64)  # 298 frames and silence, patches of 96 every 48
    for place, patch in enumerate(array):
        np.testing.assert_allclose(patch[0], whole[48 * place : 48 * place + 96], atol=1e-5)


def test_a_short_sound_is_followed_by_silence() -> None:
    array = AUDIO.to_array(AUDIO.decode(as_file(tone(0.2))))
    assert array.shape == (1, 1, 96, 64)
    np.testing.assert_allclose(array[0, 0, 30:], np.log(1e-3), atol=1e-5)


def test_of_a_long_sound_patches_are_spread_over_all_of_it() -> None:
    quiet_then_loud = np.concatenate([tone(60, level=0.01), tone(1, level=0.9)])
    array = AUDIO.to_array(AUDIO.decode(as_file(quiet_then_loud)))
    assert len(array) == SPEC.max_patches
    assert array[-1].max() > array[0].max() + 3


@given(st.integers(1, 10_000), st.integers(1, 64))
def test_evenly_spread_places(n_items: int, n_wanted: int) -> None:
    places = spread_evenly(n_items, n_wanted)
    assert len(places) == min(n_items, n_wanted)
    assert sorted(set(places)) == places
    assert all(0 <= place < n_items for place in places)
    gaps = np.diff(places)
    assert gaps.size == 0 or gaps.max() - gaps.min() <= 1
    assert n_wanted == 1 or places[-1] == n_items - 1


def test_files_of_different_lengths_share_a_batch() -> None:
    arrays = [AUDIO.to_array(AUDIO.decode(as_file(tone(seconds)))) for seconds in (0.5, 2.8)]
    batch = AUDIO.batch(arrays)
    assert batch.shape == (2, 6, 1, 96, 64)  # 5 patches, filled up to 6
    np.testing.assert_array_equal(batch[1, :5], arrays[1])
    assert np.isnan(batch[0, 1:]).all()
    assert np.isnan(batch[1, 5]).all()
    assert AUDIO.bucket(arrays[1]) == bucket_patches(5) == 6


def test_silence_can_be_used_and_is_seen() -> None:
    measured = statistics(as_file(np.zeros(16_000, np.float32)))
    assert measured["silent_frac"] == 1
    assert (measured["loudness_db"], measured["peak_db"], measured["log2_centroid_hz"]) == (-120, -120, 0)


def test_clipping_is_seen() -> None:
    clipped = np.clip(tone(level=2.0), -1, 1)
    assert statistics(as_file(clipped))["clipped_frac"] == pytest.approx(2 / 3, abs=0.02)
    assert statistics(as_file(tone()))["clipped_frac"] == 0


def test_statistics_of_a_tone() -> None:
    measured = statistics(as_file(tone(2, rate=8_000, hz=500, level=0.5), 8_000))
    assert measured["log2_seconds"] == pytest.approx(1, abs=1e-3)
    assert measured["loudness_db"] == pytest.approx(20 * np.log10(0.5 / np.sqrt(2)), abs=0.05)
    assert measured["zero_crossing_frac"] == pytest.approx(1_000 / 16_000, abs=1e-3)
    assert 2 ** measured["log2_centroid_hz"] == pytest.approx(500, rel=0.05)
    assert measured["log2_rate_hz"] == pytest.approx(np.log2(8_000))


BAD = {
    "no samples": (as_file(np.empty(0, np.float32)), "without a sample of sound"),
    "not a sound": (b"hello, world", "none of these formats"),
    "nothing": (b"", "0 bytes that do not open"),
    "a header alone": (as_file(tone())[:20], "do not open as a sound file"),
    "cut off": (as_file(tone(), kind="FLAC")[:8_000], r"cannot be decoded to its end \(LibsndfileError\)"),
    "not finite": (as_file(np.full(1_000, np.nan, np.float32), subtype="FLOAT"), "no finite numbers"),
    "too slow": (as_file(tone(rate=800), 800), "of 800 Hz"),
    "another format": (as_file(tone(), kind="AIFF"), "none of these formats"),
}


@pytest.mark.parametrize("name", BAD)
def test_bad_files_are_refused_in_words(name: str) -> None:
    data, message = BAD[name]
    with pytest.raises(DataError, match=message):
        AUDIO.decode(data)


def test_an_hour_is_refused_by_its_header() -> None:
    hour = as_file(np.zeros(3_600 * 8_000, np.float32), 8_000, subtype="PCM_U8")
    assert AUDIO.stated_size(hour) == 3_600
    with pytest.raises(DataError, match=r"of 3,600 s, 28,800,000 samples\. Allowed: at most 600 s .* cut it into pieces\.$"):
        AUDIO.decode(hour)
    with pytest.raises(DataError, match="or raise max_seconds of the preprocessing"):
        AudioModality(AudioPreprocess(max_seconds=0.5)).decode(as_file(tone()))


def test_samples_count_and_not_seconds_alone() -> None:
    """A minute and a half at 384 kHz takes as much memory as ten minutes at 48 kHz."""
    dense = as_file(np.zeros(29_000_000, np.float32), 384_000, subtype="PCM_U8")
    assert AUDIO.stated_size(dense) == 605
    with pytest.raises(DataError, match="of 76 s, 29,000,000 samples"):
        AUDIO.decode(dense)


def test_what_an_ogg_file_lost_is_not_made_up() -> None:
    """libsndfile fills the gap of one page from what is around it: the file decodes to its end."""
    pages = pages_of(as_file(tone(20), kind="OGG"))
    assert len(pages) > 5
    for n_lost in (1, 2):
        lost = b"".join(pages[:3] + pages[3 + n_lost :])
        assert soundfile.info(io.BytesIO(lost)).frames == 320_000
        with pytest.raises(DataError, match=rf"that lost {n_lost} of its pages on the way\. Allowed: a complete WAV"):
            AUDIO.decode(lost)


def test_an_ogg_file_that_states_more_than_it_holds_is_refused() -> None:
    pages = pages_of(as_file(tone(20), kind="OGG"))
    more = b"".join([*pages[:-1], with_position(pages[-1], 400_000)])
    assert soundfile.info(io.BytesIO(more)).frames == 400_000
    with pytest.raises(DataError, match="that ends after 320000 of 400000 samples"):
        AUDIO.decode(more)


@pytest.mark.parametrize("value", [1e37, 1e6, np.inf])
def test_numbers_that_are_no_samples_are_refused(value: float) -> None:
    with pytest.raises(DataError, match="far beyond full scale"):
        AUDIO.decode(as_file(np.append(tone(), np.float32(value)), subtype="FLOAT"))


def test_encodings_that_nobody_needs_do_not_reach_their_decoders() -> None:
    with pytest.raises(DataError, match="the format WAV of IMA_ADPCM"):
        AUDIO.decode(as_file(tone(), subtype="IMA_ADPCM"))


def test_bands_that_cannot_be_heard_are_refused() -> None:
    with pytest.raises(ValidationError, match="at 8000 Hz there is nothing above 4000"):
        AudioPreprocess(sample_rate_hz=8_000)


def test_a_header_that_promises_more_than_there_is() -> None:
    data = bytearray(as_file(tone()))
    data[40:44] = (2**31 - 2).to_bytes(4, "little")
    decoded = len(AUDIO.decode(bytes(data)).samples)
    assert decoded <= 16_000  # libsndfile believes the file's size, not the header


@given(st.integers(0, 2_000), st.binary(max_size=64))
def test_damage_is_never_worse_than_a_data_error(place: int, damage: bytes) -> None:
    data = as_file(tone(0.05), kind="FLAC")
    hurt = data[:place] + damage + data[place + len(damage) :]
    try:
        array = AUDIO.to_array(AUDIO.decode(hurt))
    except DataError:
        return
    assert np.isfinite(array).all()
