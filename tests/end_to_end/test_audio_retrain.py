"""`regraft init --task audio` and `regraft retrain` as a user runs them, on real speech and real weights, split by speaker."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from tests.end_to_end.test_retrain import regraft

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(1_800),
    pytest.mark.shared("that spoken digits become a model that is judged on a speaker whom it never heard"),
]
_N_TAKES = 8
_DIGITS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def spoken_digits(folder: Path, clips: Path) -> Path:
    """The first takes of every speaker and digit, with a labels table."""
    folder.mkdir()
    rows = ["path,label,group,domain"]
    for clip in sorted(clips.glob("*.wav")):
        digit, speaker, take = clip.stem.split("_")
        if int(take) < _N_TAKES:
            shutil.copyfile(clip, folder / clip.name)
            rows.append(f"{clip.name},{_DIGITS[int(digit)]},{speaker},{speaker}")
    (folder / "labels.csv").write_text("\n".join(rows) + "\n")
    return folder


def test_spoken_digits_are_judged_on_another_speaker(tmp_path: Path, shared_dir: Path) -> None:
    source = spoken_digits(tmp_path / "source", shared_dir / "data" / "spoken_digits")
    weights = shared_dir / "weights" / "mobilenetv1_100.yamnet_audioset.safetensors"
    entry = {"kind": "spectrogram", "name": "mobilenetv1_100", "weights": str(weights), "model_args": {"pad_type": "same"}}
    workspace = tmp_path / "spoken"
    made = regraft("init", str(workspace), "--task", "audio", "--from", str(source), "--backbone", json.dumps(entry))
    assert sum(made["labels"].values()) == 6 * 10 * _N_TAKES
    conf = workspace / "conf" / "spoken.yaml"
    floor = {"gates": [{"kind": "min_metric", "floor": 0.3}, {"kind": "goldens"}, {"kind": "leakage"}]}
    conf.write_text(yaml.safe_dump(yaml.safe_load(conf.read_text(encoding="utf-8")) | floor), encoding="utf-8")
    result = regraft("retrain", "--workspace", str(workspace), "--set", "method={kind: lp_ft, epochs: 8}")
    assert result["decision"]["outcome"] == "promoted"
    # A speaker is in one split alone, so each domain of the test split is a voice that training never heard. By chance: 0.1.
    assert result["accuracy"]["low"] > 0.3
    assert set(result["accuracy_by_domain"]) < {"george", "jackson", "lucas", "nicolas", "theo", "yweweler"}
