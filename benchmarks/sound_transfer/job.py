"""What every contender on sounds is given; standard library only, for both environments."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks.contest.job import Draw

# Of fastai: one epoch with the network frozen comes before.
FASTAI_EPOCHS = 10
FASTAI_BATCH_SIZE = 16


@dataclass(frozen=True)
class SoundJob(Draw):
    """One draw. Samples are paths of sound files.

    Attributes:
        weights: Safetensors file of the pretrained network, timm's `mobilenetv1_100` of one input channel.
        pictures: The log-mel patches of each sound file as grey PNGs, for who reads images: paths by the sound's path.
        pictures_seconds: What those to learn from and to choose by took to make, by the clock on the wall and of the processor: time of
            whoever uses them.
        mean, std: Of a picture's values in [0, 1]: `(value - mean) / std` is the log-mel patch.
    """

    weights: str
    pictures: dict[str, list[str]]
    pictures_seconds: tuple[float, float]
    mean: float
    std: float
