"""The backbone that a new workspace begins with, as `regraft init --backbone` names it."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from flows.new_workspace import first_backbone, init_workspace
from pipelines.config import SpectrogramBackbone, load_config
from pipelines.core.errors import ConfigurationError, IntegrityError
from tests.pipelines.tiny_sounds import write_sounds, write_weights


def entry(weights: Path, **more: object) -> str:
    return json.dumps({"kind": "spectrogram", "name": "test_resnet", "weights": str(weights), **more})


def test_the_sha256_of_the_named_file_is_written_down(tmp_path: Path) -> None:
    weights = write_weights(tmp_path / "w.safetensors")
    section = first_backbone("audio", entry(weights))
    assert section == {
        "kind": "spectrogram",
        "name": "test_resnet",
        "weights": str(weights),
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }
    made = init_workspace(tmp_path / "my-sounds", write_sounds(tmp_path / "source", 12), "audio", backbone=section)
    config = load_config(made.root / "conf" / "my-sounds.yaml")
    assert isinstance(config.backbone, SpectrogramBackbone)
    assert config.backbone.sha256 == section["sha256"]


def test_what_a_task_begins_with_is_left_to_it() -> None:
    assert first_backbone("image", None) is None
    assert first_backbone("text", None) is None


def test_sounds_need_one() -> None:
    with pytest.raises(ConfigurationError, match=r"no backbone for a project of task audio.*--backbone '\{kind: spectrogram"):
        first_backbone("audio", None)


def test_one_of_another_kind_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="of kind shipped, which task: audio does not take"):
        first_backbone("audio", "omniglot_resnet")


def test_weights_that_are_not_there_or_not_those_that_are_described_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="which is not there"):
        first_backbone("audio", entry(tmp_path / "none.safetensors"))
    weights = write_weights(tmp_path / "w.safetensors")
    weights.with_suffix(".json").write_text(json.dumps({"sha256": "0" * 64}))
    with pytest.raises(IntegrityError, match="the stated sha256"):
        first_backbone("audio", entry(weights))
