"""Spoken digits of six speakers (../shared): four to learn from, one to choose by, one to judge by."""

from __future__ import annotations

import numpy as np

from benchmarks.contest.processes import ROOT
from benchmarks.sound_transfer.job import SoundJob
from benchmarks.sound_transfer.pictures import MEAN, STD
from pipelines.config import SpectrogramBackbone
from pipelines.core.bundle import file_sha256

CLIPS = ROOT.parent / "shared" / "data" / "spoken_digits"
WEIGHTS = ROOT.parent / "shared" / "weights" / "mobilenetv1_100.yamnet_audioset.safetensors"
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
N_LEARNT_FROM = len(SPEAKERS) - 2
# Of each digit; a speaker said each 50 times.
N_TAKES, N_VALIDATION_TAKES, N_TEST_TAKES = 50, 5, 25


def entry() -> SpectrogramBackbone:
    """The conf file's entry of the weights that all contenders start from."""
    content = {
        "kind": "spectrogram",
        "name": "mobilenetv1_100",
        "weights": str(WEIGHTS),
        "sha256": file_sha256(WEIGHTS),
        "model_args": {"pad_type": "same"},
    }
    return SpectrogramBackbone.model_validate(content)


def draw(unheard: str, labels_per_class: int, seed: int, n_threads: int) -> SoundJob:
    """A draw by the seed, which says also who of the other five is chosen by.

    Args:
        unheard: The speaker to judge by, half of whose clips are.
        labels_per_class: Clips of each digit to learn from, as many of each of the four speakers.
        seed: From 0 to 4 each seed chooses by another speaker.
        n_threads: Of each contender.
    """
    others = [SPEAKERS[(SPEAKERS.index(unheard) + step) % len(SPEAKERS)] for step in range(1, len(SPEAKERS))]
    chosen_by = others.pop(seed % len(others))
    rng = np.random.default_rng(seed)
    n_each = labels_per_class // N_LEARNT_FROM
    return SoundJob(
        labels=list(DIGITS),
        train=[row for speaker in others for row in clips(speaker, n_each, rng)],
        validation=clips(chosen_by, N_VALIDATION_TAKES, rng),
        test=clips(unheard, N_TEST_TAKES, rng),
        seed=seed,
        n_threads=n_threads,
        budget_seconds=0.0,
        weights=str(WEIGHTS),
        pictures={},
        pictures_seconds=(0.0, 0.0),
        mean=MEAN,
        std=STD,
    )


def clips(speaker: str, n_takes: int, rng: np.random.Generator) -> list[list[str]]:
    """Path and label of so many takes of each digit, drawn without replacement."""
    drawn = [(digit, take) for digit in range(len(DIGITS)) for take in rng.permutation(N_TAKES)[:n_takes]]
    return [[str(CLIPS / f"{digit}_{speaker}_{take}.wav"), DIGITS[digit]] for digit, take in drawn]


def speaker_of(path: str) -> str:
    """Of a clip."""
    return path.rsplit("_", 2)[1]
