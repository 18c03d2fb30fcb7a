"""The adapter for sound: files to log-mel patches.

A file is decoded, mixed to mono, brought to the spec's rate and cut into patches of one length; each patch is a spectrogram that an image
network can read. The network's features of the patches are averaged (`pipelines.core.patch_pooling`). A file with fewer patches than others
of its batch is followed by patches of NaN, which the network leaves out, so a file has the same features whatever it shares a batch with.
Letters for shapes: b batch, p patches, t frames, m mel bands, n samples of sound.
"""

from __future__ import annotations

import importlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipelines.core.errors import ConfigurationError, DataError
from pipelines.core.log_mel import LogMelSpec, log_mel
from pipelines.core.modalities.modality import SizeLimit

if TYPE_CHECKING:
    from soundfile import SoundFile

# What the decoder may be asked to parse. libsndfile knows some 25 formats; each is attack surface of the endpoint.
AUDIO_FORMATS = ("WAV", "WAVEX", "FLAC", "OGG")
# The first bytes of a file, looked at before libsndfile sees it.
_MAGIC = {b"RIFF": ".wav", b"fLaC": ".flac", b"OggS": ".ogg"}
MIN_RATE_HZ, MAX_RATE_HZ, MAX_CHANNELS = 1_000, 384_000, 16
# Numbers of patches that files are batched by, each at most half as many again as the one before.
BUCKET_PATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)
# Ten minutes take 230 MB while they are decoded at 48 kHz and brought to another rate.
MOST_SECONDS = 600.0
_CLIPPED, _SILENT = 0.999, 10 ** (-60 / 20)
_BLOCK_VALUES = 1 << 20
# Files of other rates have no more samples than one of `MOST_SECONDS` at this one.
_USUAL_RATE_HZ = 48_000
# Samples of a sound are in [-1, 1]; what is so far beyond was never one, and overflows in the spectrogram.
_LOUDEST = 1e4
# Of a header that states no length, as of a stream.
_NO_LENGTH = 1 << 62
# Encodings inside of these formats: plain samples, and what the codecs of FLAC and OGG are called. libsndfile has a dozen more for WAV.
_SUBTYPES = ("PCM_U8", "PCM_S8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW", "VORBIS", "OPUS")
# The order is the order of the columns in a bundle's reference.
AUDIO_STATISTICS = (
    *("log2_seconds", "loudness_db", "peak_db", "clipped_frac", "silent_frac"),
    *("zero_crossing_frac", "log2_centroid_hz", "log2_rate_hz"),
)
_QUIETEST_DB = -120.0


class AudioPreprocess(BaseModel):
    """How a sound file becomes the input of a backbone.

    Attributes:
        sample_rate_hz: Every file is brought to it (soxr, its high quality).
        log_mel: Of the spectrograms.
        patch_frames: Frames of a patch.
        patch_hop_frames: From the beginning of one patch to that of the next.
        max_patches: Of a file with more, so many are taken, spread evenly from the first to the last.
        mean, std: The spectrogram is normalised to `(value - mean) / std`.
        max_seconds: Longer files are refused before they are decoded.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    kind: Literal["audio"] = "audio"
    sample_rate_hz: Annotated[int, Field(ge=MIN_RATE_HZ, le=MAX_RATE_HZ)] = 16_000
    log_mel: LogMelSpec = LogMelSpec()
    patch_frames: Annotated[int, Field(ge=8, le=4_096)] = 96
    patch_hop_frames: Annotated[int, Field(ge=1, le=4_096)] = 48
    max_patches: Annotated[int, Field(ge=1, le=BUCKET_PATCHES[-1])] = 16
    mean: float = 0.0
    std: Annotated[float, Field(gt=0)] = 1.0
    max_seconds: Annotated[float, Field(gt=0, le=MOST_SECONDS)] = MOST_SECONDS

    @model_validator(mode="after")
    def _bands_are_heard(self) -> AudioPreprocess:
        if self.log_mel.f_max_hz > self.sample_rate_hz / 2:
            highest = f"at {self.sample_rate_hz} Hz there is nothing above {self.sample_rate_hz / 2:g}"
            raise ValueError(f"log_mel.f_max_hz is {self.log_mel.f_max_hz:g}; {highest}")
        return self

    @property
    def n_channels(self) -> int:
        """A spectrogram is an image of one channel."""
        return 1

    @property
    def input_shape(self) -> tuple[int, int, int, int]:
        """Of one network input of one patch: [p, c, t, m]."""
        return 1, self.n_channels, self.patch_frames, self.log_mel.n_mels

    @property
    def patch_samples(self) -> int:
        """Samples of sound that a patch takes."""
        return self.log_mel.window_samples + (self.patch_frames - 1) * self.log_mel.hop_samples


@dataclass(frozen=True, eq=False)
class Sound:
    """A decoded file.

    Attributes:
        samples: float32 [n], mono, at the spec's rate; usually in [-1, 1].
        file_rate_hz: As the file has it.
        n_file_samples: Of each of the file's channels.
        clipped_frac: Of the samples of all channels, before anything was done to them.
    """

    samples: NDArray[np.float32]
    file_rate_hz: int
    n_file_samples: int
    clipped_frac: float


@dataclass(frozen=True)
class AudioModality:
    """Sound files to [p, 1, t, m]."""

    kind: ClassVar[str] = "audio"
    noun: ClassVar[str] = "sound"
    statistics: ClassVar[tuple[str, ...]] = AUDIO_STATISTICS

    spec: AudioPreprocess

    @property
    def size_limit(self) -> SizeLimit:
        """Seconds."""
        return SizeLimit("seconds", int(self.spec.max_seconds))

    def stated_size(self, data: bytes) -> int | None:
        """Seconds, rounded up, as the header states them; of rates above 48 kHz as many as its samples last there."""
        try:
            with _opened(data) as file:
                # By their number: a sound of more samples a second takes as much more memory.
                return None if file.frames >= _NO_LENGTH else int(-(-file.frames // min(file.samplerate, _USUAL_RATE_HZ)))
        except DataError:
            return None

    def file_rate_hz(self, data: bytes) -> int:
        """Samples a second as the header states them.

        Raises:
            DataError: The bytes are no sound file of an allowed format, or one of an unusual rate or length.
        """
        with _opened(data) as file:
            _refuse_unfit(file, self.spec.max_seconds)
            return int(file.samplerate)

    def decode(self, data: bytes) -> Sound:
        """Decodes, mixes to mono and resamples.

        Raises:
            DataError: The bytes are no sound file of an allowed format, are damaged, empty or too long.
        """
        with _opened(data) as file:
            _refuse_unfit(file, self.spec.max_seconds)
            mono, n_clipped, n_values = _read_mono(file)
            rate = file.samplerate
        return Sound(_resampled(mono, rate, self.spec.sample_rate_hz), rate, len(mono), n_clipped / n_values)

    def to_array(self, decoded: Sound) -> NDArray[np.float32]:
        """float32 [p, 1, t, m]; silence follows up to the end of the last patch, so that all of a sound is heard."""
        spec = self.spec
        hop = spec.patch_hop_frames * spec.log_mel.hop_samples
        n_patches = 1 + max(0, -(-(len(decoded.samples) - spec.patch_samples) // hop))
        missing = spec.patch_samples + (n_patches - 1) * hop - len(decoded.samples)
        samples = np.pad(decoded.samples, (0, max(0, missing)))
        patches = [
            log_mel(samples[place * hop : place * hop + spec.patch_samples], spec.sample_rate_hz, spec.log_mel)
            for place in spread_evenly(n_patches, spec.max_patches)
        ]
        return ((np.stack(patches) - np.float32(spec.mean)) / np.float32(spec.std))[:, None]

    def spectrogram(self, decoded: Sound) -> NDArray[np.float32]:
        """float32 [t, m], of the whole sound and not normalised: to be looked at."""
        missing = self.spec.log_mel.window_samples - len(decoded.samples)
        return log_mel(np.pad(decoded.samples, (0, max(0, missing))), self.spec.sample_rate_hz, self.spec.log_mel)

    def input_statistics(self, decoded: Sound) -> NDArray[np.float32]:
        """As `sound_statistics`."""
        return sound_statistics(decoded, self.spec.sample_rate_hz)

    def bucket(self, array: NDArray[np.float32]) -> int:
        """The number of patches that it is filled up to."""
        return bucket_patches(len(array))

    def batch(self, arrays: Sequence[NDArray[np.float32]]) -> NDArray[np.float32]:
        """float32 [b, p, 1, t, m], NaN where a file has no patch."""
        n_patches = max(bucket_patches(len(array)) for array in arrays)
        batch = np.full((len(arrays), n_patches, *arrays[0].shape[1:]), np.nan, np.float32)
        for row, array in zip(batch, arrays, strict=True):
            row[: len(array)] = array
        return batch


def sound_extension(data: bytes) -> str:
    """Of a file with this content, for example `.wav`; empty where it is none of the formats."""
    return _MAGIC.get(data[:4], "")


def bucket_patches(n_patches: int) -> int:
    """The number that so many patches are filled up to."""
    return next(size for size in BUCKET_PATCHES if size >= n_patches)


def spread_evenly(n_items: int, n_wanted: int) -> list[int]:
    """All items, or so many of them, the first and the last included, as evenly as whole numbers allow; of one the middle."""
    if n_items <= n_wanted:
        return list(range(n_items))
    if n_wanted == 1:
        return [(n_items - 1) // 2]
    return [round(place * (n_items - 1) / (n_wanted - 1)) for place in range(n_wanted)]


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


def _resampled(samples: NDArray[np.float32], from_hz: int, to_hz: int) -> NDArray[np.float32]:
    if from_hz == to_hz:
        return samples
    resampled: NDArray[np.float32] = _library("soxr").resample(samples, from_hz, to_hz, quality="HQ")
    # Of a few samples at a high rate nothing is left; silence of one sample stands for them.
    return np.ascontiguousarray(resampled) if len(resampled) else np.zeros(1, np.float32)


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
