"""Spoken digits of six speakers: a voice that was not heard is another domain. `not NAME` are the five others."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from benchmarks.real_digits import DATA

LABELS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
BACKBONE = {
    "kind": "spectrogram",
    "name": "mobilenetv1_100",
    "weights": str(DATA.parent / "weights" / "mobilenetv1_100.yamnet_audioset.safetensors"),
    "sha256": "dbe93dbc29b68746f2596ba922c419ec4aeef464db1671aa10423dc009924caf",
    "model_args": {"pad_type": "same"},
}
PLAIN = {"kind": "lp_ft", "n_upper_blocks": None, "freeze_batch_norm": False, "epochs": 4, "batch_size": 16, "early_stopping_epochs": None}
_NOT = "not "


def samples_of(domain: str, seed: int) -> Iterator[tuple[bytes, str]]:
    """WAV files and their digits."""
    name = domain.removeprefix(_NOT)
    clips = [
        clip for clip in sorted((DATA / "spoken_digits").glob("*.wav")) if (clip.stem.split("_")[1] == name) != domain.startswith(_NOT)
    ]
    for place in np.random.default_rng(seed).permutation(len(clips)):
        yield clips[place].read_bytes(), LABELS[int(clips[place].stem.split("_")[0])]
