"""The adapter for sound: files to log-mel patches.

A file is decoded, mixed to mono, brought to the spec's rate and cut into patches of one length; each patch is a spectrogram that an image
network can read. The network's features of the patches are averaged (`pipelines.core.patch_pooling`). A file with fewer patches than others
of its batch is followed by patches of NaN, which the network leaves out, so a file has the same features whatever it shares a batch with.
Letters for shapes: b batch, p patches, t frames, m mel bands, n samples of sound.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, model_validator

from pipelines.core.log_mel import LogMelSpec, log_mel
from pipelines.core.modalities.modality import SizeLimit
from pipelines.core.sound_files import MAX_RATE_HZ, MIN_RATE_HZ, MOST_SECONDS, Sound, read_sound, resampled, stated_seconds
from pipelines.core.sound_statistics import AUDIO_STATISTICS, sound_statistics

# Numbers of patches that files are batched by, each at most half as many again as the one before.
BUCKET_PATCHES = (1, 2, 3, 4, 6, 8, 12, 16, 24, 32, 48, 64)


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
        """As `stated_seconds`."""
        return stated_seconds(data)

    def decode(self, data: bytes) -> Sound:
        """Decodes, mixes to mono and resamples.

        Raises:
            DataError: The bytes are no sound file of an allowed format, are damaged, empty or too long.
        """
        return resampled(read_sound(data, self.spec.max_seconds), self.spec.sample_rate_hz)

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
