"""Sound files in memory: opened, refused or decoded to mono. Letters for shapes: n samples of sound."""

from __future__ import annotations

import importlib
import io
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import ConfigurationError, DataError
from pipelines.core.ogg_pages import ogg_damage

if TYPE_CHECKING:
    from soundfile import SoundFile

# What the decoder may be asked to parse. libsndfile knows some 25 formats; each is attack surface of the endpoint.
AUDIO_FORMATS = ("WAV", "WAVEX", "FLAC", "OGG")
# The first bytes of a file, looked at before libsndfile sees it.
_MAGIC = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg"}
MIN_RATE_HZ, MAX_RATE_HZ, MAX_CHANNELS = 1_000, 384_000, 16
# Ten minutes take 230 MB while they are decoded at 48 kHz and brought to another rate.
MOST_SECONDS = 600.0
_CLIPPED = 0.999
_BLOCK_VALUES = 1 << 20
# Files of other rates have no more samples than one of `MOST_SECONDS` at this one.
_USUAL_RATE_HZ = 48_000
# Samples of a sound are in [-1, 1]; what is so far beyond was never one, and overflows in the spectrogram.
_LOUDEST = 1e4
# Of a header that states no length, as of a stream.
_NO_LENGTH = 1 << 62
# Encodings inside of these formats: plain samples, and what the codecs of FLAC and OGG are called. libsndfile has a dozen more for WAV.
_SUBTYPES = ("PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "VORBIS", "OPUS")


@dataclass(frozen=True, eq=False)
class Sound:
    """A decoded file.

    Attributes:
        samples: float32 [n], mono, at the rate of the file, or at the one it was brought to; usually in [-1, 1].
        file_rate_hz: As the file has it.
        n_file_samples: Of each of the file's channels.
        clipped_frac: Of the samples of all channels, before anything was done to them.
    """

    samples: NDArray[np.float32]
    file_rate_hz: int
    n_file_samples: int
    clipped_frac: float


def stated_seconds(data: bytes) -> int | None:
    """Seconds, rounded up, as the header states them: of rates above 48 kHz as many as its samples last there. None where it has none."""
    try:
        with _opened(data) as file:
            # By their number: a sound of more samples a second takes as much more memory.
            return None if file.frames >= _NO_LENGTH else int(-(-file.frames // min(file.samplerate, _USUAL_RATE_HZ)))
    except DataError:
        return None


def read_sound(data: bytes, max_seconds: float = MOST_SECONDS) -> Sound:
    """Decodes a file and mixes it to mono, at its own rate.

    Raises:
        DataError: The bytes are no sound file of an allowed format, are damaged, empty or too long.
        ConfigurationError: The libraries for sounds are not installed.
    """
    with _opened(data) as file:
        _refuse_unfit(file, max_seconds)
        if damage := ogg_damage(data):
            raise _damaged(damage)
        mono, n_clipped, n_values = _read_mono(file)
        return Sound(mono, file.samplerate, len(mono), n_clipped / n_values)


def resampled(sound: Sound, rate_hz: int) -> Sound:
    """A sound that was just read, brought to another rate (soxr, its high quality)."""
    if sound.file_rate_hz == rate_hz:
        return sound
    samples: NDArray[np.float32] = _library("soxr").resample(sound.samples, sound.file_rate_hz, rate_hz, quality="HQ")
    # Of a few samples at a high rate nothing is left; silence of one sample stands for them.
    return replace(sound, samples=np.ascontiguousarray(samples) if len(samples) else np.zeros(1, np.float32))


def sound_extension(data: bytes) -> str:
    """Of a file with this content, for example `.wav`; empty where it is none of the formats."""
    return _MAGIC.get(data[:4], "")


def _opened(data: bytes) -> SoundFile:
    """Opens a file in memory without decoding it.

    Raises:
        DataError: It is none of the allowed formats or encodings, or its header is damaged.
        ConfigurationError: The libraries for sounds are not installed.
    """
    soundfile = _library("soundfile")
    if data[:4] not in _MAGIC:
        raise _undecodable(data, "none of these formats")
    try:
        file: SoundFile = soundfile.SoundFile(io.BytesIO(data))
    except (soundfile.SoundFileError, OSError, ValueError, TypeError) as error:
        raise _undecodable(data, type(error).__name__) from error
    if file.format not in AUDIO_FORMATS or file.subtype not in _SUBTYPES:
        kind = f"{file.format} of {file.subtype}"
        file.close()
        raise _undecodable(data, f"the format {kind}")
    return file


def _library(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except (ImportError, OSError) as error:  # OSError: the package is there, the library that it needs is not
        raise ConfigurationError(
            got=f"a sound, and the library {name} is not installed.",
            allowed="the libraries that read sounds: soundfile and soxr.",
            next_step="install them: pip install 'regraft[audio]'.",
        ) from error


def _refuse_unfit(file: SoundFile, max_seconds: float) -> None:
    if not MIN_RATE_HZ <= file.samplerate <= MAX_RATE_HZ or not 1 <= file.channels <= MAX_CHANNELS:
        raise DataError(
            got=f"a sound file of {file.samplerate} Hz and {file.channels} channels.",
            allowed=f"{MIN_RATE_HZ} to {MAX_RATE_HZ} Hz and at most {MAX_CHANNELS} channels.",
            next_step="export the file again at a usual rate, or leave it out.",
        )
    if file.frames >= _NO_LENGTH:
        raise _damaged("whose header states no length")
    seconds, most_samples = file.frames / file.samplerate, int(MOST_SECONDS * _USUAL_RATE_HZ)
    if seconds > max_seconds or file.frames > most_samples:
        raise DataError(
            got=f"a sound file of {seconds:,.0f} s, {file.frames:,} samples.",
            allowed=f"at most {max_seconds:g} s and {most_samples:,} samples.",
            next_step="cut it into pieces" + (", or raise max_seconds of the preprocessing." if max_seconds < MOST_SECONDS else "."),
        )


def _read_mono(file: SoundFile) -> tuple[NDArray[np.float32], int, int]:
    """The mean of the channels, how many values are at full scale, and of how many. Block by block: many channels take little more memory.

    Raises:
        DataError: The file is damaged, ends too early, or holds nothing or what is no sample.
    """
    soundfile = _library("soundfile")
    # Not by `blocks`: it drops the number of samples that were read, so that what follows the end of a torn file is old memory.
    mono, n_read, n_clipped = np.empty(file.frames, np.float32), 0, 0
    try:
        while n_read < file.frames:
            block = file.read(min(_BLOCK_VALUES // file.channels, file.frames - n_read), dtype="float32", always_2d=True)
            if not len(block):
                break
            mono[n_read : n_read + len(block)] = block.mean(axis=1, dtype=np.float32)
            n_read += len(block)
            n_clipped += int(np.count_nonzero(np.abs(block) >= _CLIPPED))
    except (soundfile.SoundFileError, OSError, ValueError) as error:
        raise _damaged(f"that cannot be decoded to its end ({type(error).__name__})") from error
    if not file.frames:
        raise _damaged("without a sample of sound")
    if n_read < file.frames:
        raise _damaged(f"that ends after {n_read} of {file.frames} samples")
    # What is no number is not at most anything.
    if not (np.abs(mono) <= _LOUDEST).all():
        raise _damaged("with samples that are no finite numbers, or far beyond full scale")
    return mono, n_clipped, n_read * file.channels


def _undecodable(data: bytes, why: str) -> DataError:
    return DataError(
        got=f"{len(data)} bytes that do not open as a sound file ({why}).",
        allowed="a complete WAV, FLAC or OGG file.",
        next_step="play the file, export it again, or leave it out.",
    )


def _damaged(what: str) -> DataError:
    return DataError(
        got=f"a sound file {what}.",
        allowed="a complete WAV, FLAC or OGG file with at least one sample.",
        next_step="play the file, export it again, or leave it out.",
    )
