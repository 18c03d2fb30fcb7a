"""A project of sounds through the stages, from the files to a bundle that is loaded and asked."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pydantic import ValidationError

from pipelines.core.bundle import read_manifest
from pipelines.core.predict import Predictor
from pipelines.corruptions import corrupting
from pipelines.dataset import read_sample, read_samples
from pipelines.feedback import NewSample
from pipelines.import_data import import_samples
from pipelines.ingest import add_samples, ingest_folder
from pipelines.labels_table import read_labels_table
from pipelines.mistakes import find_mistakes
from pipelines.stages import Stages
from pipelines.workspace import Workspace
from tests.pipelines.packaged_run import check_the_same_bundle, check_the_same_features, packaged
from tests.pipelines.tiny_sounds import as_file, audio_config, sound, write_sounds, write_weights


def _made(folder: Path) -> Path:
    folder.mkdir()
    return folder


@pytest.mark.parametrize(
    "method",
    [
        {"kind": "probe"},
        {"kind": "lp_ft", "epochs": 1, "n_upper_blocks": 1, "augment": {"policy": "spec_augment", "mixup_alpha": 0.2}},
        {"kind": "scratch", "epochs": 1},
    ],
    ids=lambda method: method["kind"],
)
def test_sounds_become_a_bundle(tmp_path: Path, method: dict[str, Any]) -> None:
    config = audio_config(write_weights(tmp_path / "w.safetensors"), method=method)
    source = write_sounds(tmp_path / "source", 80)
    run = packaged(tmp_path / "w", source, config)
    manifest, _ = read_manifest(run.bundle)
    assert (manifest.task, manifest.preprocess.kind) == ("audio", "audio")
    if method["kind"] == "probe":
        # Even untrained features of these sounds can be told apart: their tones are others.
        assert run.evaluation["accuracy"]["value"] >= 0.9
    answers = Predictor.load(run.bundle).predict([as_file(sound("high", 900)), as_file(sound("low", 901, 44_100), 44_100)])
    assert np.isfinite(answers.statistics).all()
    assert answers.statistics.shape == (2, 8)
    check_the_same_bundle(run, source, tmp_path / "other")


def test_answers_do_not_depend_on_what_else_is_asked(tmp_path: Path) -> None:
    config = audio_config(write_weights(tmp_path / "w.safetensors"))
    predictor = Predictor.load(packaged(tmp_path / "w", write_sounds(tmp_path / "source", 60), config).bundle)
    sounds = [as_file(sound(("high", "low")[seed % 2], 500 + seed)) for seed in range(40)]
    together = predictor.predict(sounds).probabilities
    alone = np.concatenate([predictor.predict([one]).probabilities for one in sounds])
    np.testing.assert_allclose(together, alone, atol=1e-6)


def test_features_are_the_same_bits_whoever_shares_the_batch(tmp_path: Path) -> None:
    config = audio_config(write_weights(tmp_path / "w.safetensors"))
    inputs = check_the_same_features(packaged(tmp_path / "w", write_sounds(tmp_path / "source", 60), config), tmp_path)
    assert len({len(inputs.batch([place])[0]) for place in range(len(inputs))}) > 1  # of several numbers of patches


def test_mistakes_are_shown_as_spectrograms(tmp_path: Path) -> None:
    source = write_sounds(tmp_path / "source", 60)
    # Labelled wrongly on purpose: with every third label turned around some test samples must be mistakes.
    for place, file in enumerate(sorted(source.rglob("*.wav"))):
        if place % 3 == 0:
            file.rename(source / ("low" if file.parent.name == "high" else "high") / f"turned-{file.name}")
    run, folder = packaged(tmp_path / "w", source, audio_config(write_weights(tmp_path / "w.safetensors"))), _made(tmp_path / "mistakes")
    find_mistakes(run.bundle, run.evaluated, run.samples, run.stages.workspace.data, folder)
    found = json.loads((folder / "mistakes.json").read_bytes())
    assert found["n_wrong"] > 0
    assert found["saliency"] == "silence"
    with (
        Image.open(folder / "00-image.png") as heard,
        Image.open(folder / "00-map.png") as marked,
    ):
        assert heard.size == marked.size


def test_bad_sounds_are_named(tmp_path: Path) -> None:
    source = write_sounds(tmp_path / "data", 60)
    loud = np.sign(np.sin(np.arange(16_000) / 20.0))
    made = {
        "low/silent.wav": as_file(np.zeros(16_000)),
        "low/clipped.wav": as_file(loud, subtype="FLOAT"),
        "low/click.wav": as_file(sound("low", 1)[:800]),
        "high/other-rate.wav": as_file(sound("high", 2, 8_000), 8_000),
        "high/empty.wav": as_file(np.zeros(0)),
        "high/torn.flac": as_file(sound("high", 3), kind="FLAC")[:900],
        "low/copy.flac": as_file(sound("high", 0), kind="FLAC", subtype="PCM_16"),
    }
    for name, content in made.items():
        (source / name).write_bytes(content)
    rows = "".join(f"{path.relative_to(source)},{path.parent.name}\n" for path in sorted(source.rglob("*.*")))
    (source / "labels.csv").write_text("path,label\n" + rows)
    stages = Stages(Workspace(tmp_path), audio_config(write_weights(tmp_path / "w.safetensors")))
    report = json.loads((stages.validate(stages.manifest("d")).path / "validation.json").read_text())
    said = {check["name"]: [item["where"] for item in check["unexpected"]] for check in report["checks"] if check["outcome"] == "failed"}
    assert said == {
        "rows_usable": ["high/empty.wav", "high/torn.flac"],
        "labels_agree": ["high/000.wav", "low/copy.flac"],
        "seconds": ["low/click.wav"],
        "clipping": ["low/clipped.wav"],
        "silence": ["low/silent.wav"],
        "rate": ["high/other-rate.wav"],
    }


def test_copies_share_a_split(tmp_path: Path) -> None:
    source = write_sounds(tmp_path / "source", 60)
    for seed in range(8):
        samples, label = sound(("high", "low")[seed % 2], seed), ("high", "low")[seed % 2]
        (source / label / f"copy{seed}.flac").write_bytes(as_file(samples, kind="FLAC", subtype="PCM_16"))
    import_samples(source, tmp_path / "w" / "data", task="audio")
    stages = Stages(Workspace(tmp_path / "w"), audio_config(write_weights(tmp_path / "w.safetensors")))
    split = stages.split(stages.manifest("d"))
    splits = {sample.path: sample.split for sample in read_samples(split.path / "samples.csv")}
    for seed in range(8):
        label = ("high", "low")[seed % 2]
        assert splits[f"{label}/copy{seed}.flac"] == splits[f"{label}/{seed:03d}.wav"]


def test_sounds_are_ingested_once(tmp_path: Path) -> None:
    config = audio_config(write_weights(tmp_path / "w.safetensors"))
    import_samples(write_sounds(tmp_path / "source", 20), tmp_path / "w" / "data", task="audio")
    data, new = tmp_path / "w" / "data", tmp_path / "new"
    for folder in ("high", "low"):
        (new / folder).mkdir(parents=True)
    (new / "high" / "new.wav").write_bytes(as_file(sound("high", 700)))
    (new / "high" / "known.flac").write_bytes(as_file(sound("high", 0), kind="FLAC", subtype="PCM_16"))
    (new / "low" / "contradicts.wav").write_bytes(as_file(sound("high", 2)))
    (new / "low" / "no-sound.wav").write_bytes(b"RIFF and no more")
    summary = ingest_folder(new, data, config, "phone")
    assert (summary.n_added, summary.n_known) == (1, 1)
    assert sorted(item.where for item in summary.findings) == ["low/contradicts.wav", "low/no-sound.wav"]
    last = read_labels_table(data / "labels.csv").rows[-1]
    assert last.path.startswith("sounds/ingested/")
    assert (last.path.endswith(".wav"), last.label, last.domain) == (True, "high", "phone")
    assert ingest_folder(new, data, config, "phone").n_added == 0
    raw = _made(tmp_path / "raw")
    said = as_file(sound("low", 701))
    sha256 = hashlib.sha256(said).hexdigest()
    (raw / sha256).write_bytes(said)
    assert add_samples(data, [NewSample(sha256, "low")], raw, config).n_added == 1
    assert add_samples(data, [NewSample(sha256, "low")], raw, config).n_known == 1


def test_a_table_may_group_sounds_by_speaker(tmp_path: Path) -> None:
    source = write_sounds(tmp_path / "source", 60)
    files = sorted(source.rglob("*.wav"))
    rows = "".join(f"{file.relative_to(source)},{file.parent.name},speaker-{place % 30}\n" for place, file in enumerate(files))
    (source / "labels.csv").write_text("path,label,group\n" + rows)
    import_samples(source, tmp_path / "w" / "data", task="audio")
    stages = Stages(Workspace(tmp_path / "w"), audio_config(write_weights(tmp_path / "w.safetensors")))
    splits: dict[str, set[str]] = {}
    for sample in read_samples(stages.split(stages.manifest("d")).path / "samples.csv"):
        splits.setdefault(sample.group, set()).add(sample.split)
    assert all(len(found) == 1 for found in splits.values())


@pytest.mark.parametrize("name", ["noise", "gain", "low_pass"])
def test_corruptions_change_a_sound_more_and_more_and_the_same_way_each_time(tmp_path: Path, name: str) -> None:
    run = packaged(tmp_path / "w", write_sounds(tmp_path / "source", 40), audio_config(write_weights(tmp_path / "w.safetensors")))
    sample = read_samples(run.samples, "test")[0]
    content = read_sample(run.stages.workspace.data, sample)
    modality = Predictor.load(run.bundle, verify=False).modality
    plain = modality.to_array(modality.decode(content))
    changes = []
    for severity in (1, 3, 5):
        alter = corrupting("audio", name, severity, read_manifest(run.bundle)[0].preprocess)
        altered = alter(sample, content)
        assert altered == alter(sample, content)
        changes.append(float(np.abs(modality.to_array(modality.decode(altered)) - plain).mean()))
    assert 0 < changes[0] < changes[1] < changes[2]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"backbone": {"kind": "shipped"}}, "of kind shipped, which task: audio does not take; it takes spectrogram"),
        ({"task": "image"}, "which task: image does not take; it takes shipped, timm, best_of"),
        ({"method": {"kind": "fine_tune", "augment": {"policy": "rand_augment"}}}, "allowed: none, spec_augment"),
        ({"method": {"kind": "fine_tune", "augment": {"flips": "horizontal"}}}, "flips or cutmix_alpha, which sounds do not have"),
        ({"gates": [{"kind": "robustness", "corruptions": ["blur"]}]}, "corruptions of task: audio are noise, gain, low_pass"),
    ],
)
def test_what_sounds_do_not_have_is_refused(tmp_path: Path, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        audio_config(write_weights(tmp_path / "w.safetensors"), **changes)


def test_what_is_not_stated_is_what_suits_sounds(tmp_path: Path) -> None:
    gates = [{"kind": "min_metric", "floor": 0.5}, {"kind": "robustness"}]
    config = audio_config(write_weights(tmp_path / "w.safetensors"), method={"kind": "auto"}, gates=gates)
    assert config.method.fine_tune.augment.policy == "spec_augment"  # type: ignore[union-attr]
    assert config.gates[1].corruptions == ("noise", "gain", "low_pass")  # type: ignore[union-attr]
