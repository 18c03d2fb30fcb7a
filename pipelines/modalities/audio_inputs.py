"""Looks into sound files, one by one: what is wrong with one is said, not raised."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pipelines.core.errors import DataError
from pipelines.core.modalities.audio import AudioModality, AudioPreprocess
from pipelines.core.sound_files import Sound, sound_extension
from pipelines.core.sound_statistics import AUDIO_STATISTICS
from pipelines.input_files import Unusable

AUDIO_SUFFIXES = (".wav", ".flac", ".ogg", ".oga")
# At a rate that every project hears alike: what is said of a file must not depend on the backbone that a project happens to use.
_HEARD = AudioModality(AudioPreprocess())
# Samples of 16 bits: files of other bit depths or compressed without loss hold the same sound.
_LEVELS = 32_767


@dataclass(frozen=True)
class SoundFile:
    """A file that decodes as a sound.

    Attributes:
        id: sha256 of its bytes.
        seconds: Of sound.
        rate_hz: Samples a second, as the file has it.
        n_samples: Of each channel, as the file has it.
        loudness_db: Root mean square, in decibels below full scale, at least -120.
        clipped_frac: Share of samples at full scale.
        silent_frac: Share of samples below -60 dB.
        n_bytes: Size of the file.
        sound_digest: sha256 of rate and samples, mixed to mono, in 16 bits: the same sound in another lossless format has the same one.
        extension: That fits the content, for example `.wav`, whatever the file is called.
    """

    id: str
    seconds: float
    rate_hz: int
    n_samples: int
    loudness_db: float
    clipped_frac: float
    silent_frac: float
    n_bytes: int
    sound_digest: str
    extension: str


def inspect_sound(data: bytes) -> SoundFile | Unusable:
    """Decodes one file's content."""
    try:
        sound = _HEARD.decode(data)
    except DataError as error:
        return Unusable(error.got.rstrip("."))
    said = dict(zip(AUDIO_STATISTICS, _HEARD.input_statistics(sound).tolist(), strict=True))
    return SoundFile(
        id=hashlib.sha256(data).hexdigest(),
        seconds=round(sound.n_file_samples / sound.file_rate_hz, 4),
        rate_hz=sound.file_rate_hz,
        n_samples=sound.n_file_samples,
        loudness_db=round(said["loudness_db"], 2),
        clipped_frac=round(said["clipped_frac"], 6),
        silent_frac=round(said["silent_frac"], 6),
        n_bytes=len(data),
        sound_digest=sound_digest(sound),
        extension=sound_extension(data),
    )


def stated_length(file: Path) -> tuple[int, int] | None:
    """Rate and samples of each channel as the header states them; None where that cannot be read. Decodes nothing."""
    import soundfile

    try:
        with soundfile.SoundFile(file) as header:
            return int(header.samplerate), int(header.frames)
    except (soundfile.SoundFileError, OSError, ValueError, TypeError):
        return None


def sound_digest(sound: Sound) -> str:
    """What copies of a sound share."""
    levels = (sound.samples.clip(-1, 1) * _LEVELS).round().astype("<i2")
    return hashlib.sha256(f"{sound.file_rate_hz} Hz\0".encode() + levels.tobytes()).hexdigest()
