"""`regraft backbones rank`: which candidates it takes, what it prints, and the whole command on a small workspace."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import safetensors.torch
import timm
import torch

from flows import backbone_ranking
from flows.backbone_ranking import BackboneRanking, described_weights, parse_candidate, rank_backbones
from flows.cli.results import print_ranking
from flows.session import Session
from pipelines.config import BestOfBackbones, ShippedBackbone, SingleBackbone, TimmBackbone
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import ConfigurationError
from pipelines.progress import silent
from pipelines.workspace import Workspace
from tests.flows.conftest import project_config


def weights(folder: Path, name: str = "test_resnet.mine.safetensors", seed: int = 0, **sidecar: object) -> Path:
    torch.manual_seed(seed)
    network = timm.create_model("test_resnet", in_chans=1, num_classes=0)
    path = folder / name
    safetensors.torch.save_file({key: tensor.contiguous() for key, tensor in network.state_dict().items()}, path)
    content = {"mean": [0.5], "std": [0.5], "input_size": [1, 32, 32], "sha256": file_sha256(path)} | sidecar
    path.with_suffix(".json").write_text(json.dumps(content))
    return path


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[BestOfBackbones]:
    """What would be ranked, in place of ranking it."""
    sections: list[BestOfBackbones] = []

    def keep(session: Session, section: BestOfBackbones, progress: object) -> dict[str, object]:
        sections.append(section)
        return {}

    monkeypatch.setattr(backbone_ranking, "_select", keep)
    return sections


def session(tmp_path: Path, *candidates: SingleBackbone, n_probed: int = 1) -> Session:
    config = project_config("toy")
    if candidates:
        config = config.model_copy(update={"backbone": BestOfBackbones(kind="best_of", candidates=candidates, n_probed=n_probed)})
    return Session(Workspace(tmp_path), config)


def test_the_conf_files_candidates_are_ranked_as_training_would(tmp_path: Path, asked: list[BestOfBackbones]) -> None:
    own = described_weights(weights(tmp_path))
    rank_backbones(session(tmp_path, own, ShippedBackbone(kind="shipped")), (), None, None, silent)
    assert asked == [BestOfBackbones(kind="best_of", candidates=(own, ShippedBackbone(kind="shipped")), n_probed=1)]


def test_what_is_given_is_ranked_with_the_configured_and_the_shipped(tmp_path: Path, asked: list[BestOfBackbones]) -> None:
    folder = tmp_path / "weights"
    folder.mkdir()
    one, two = weights(folder), weights(tmp_path, "other.safetensors", seed=1, arch="test_resnet")
    left = folder / "strange.safetensors"
    safetensors.numpy.save_file({"a": np.zeros(1, np.float32)}, left)
    ranking = rank_backbones(session(tmp_path), (str(two),), folder, 3, silent)
    assert [entry.name for entry in asked[0].candidates] == ["omniglot_resnet", "test_resnet", "test_resnet"]
    assert [getattr(entry, "weights", None) for entry in asked[0].candidates] == [None, two, one]
    assert asked[0].n_probed == 3
    assert list(ranking.left_out) == ["strange.safetensors"]
    assert "is no name of an architecture" in ranking.left_out["strange.safetensors"]


def test_one_backbone_alone_is_no_ranking(tmp_path: Path, asked: list[BestOfBackbones]) -> None:
    with pytest.raises(ConfigurationError, match=r"1 backbone to rank: omniglot_resnet.*at least two.*--candidate"):
        rank_backbones(session(tmp_path), ("omniglot_resnet",), None, None, silent)


def test_the_same_file_is_one_candidate_whoever_states_its_hash(tmp_path: Path, asked: list[BestOfBackbones]) -> None:
    (tmp_path / "weights").mkdir()
    path = weights(tmp_path / "weights")
    stated = f"{{kind: timm, name: test_resnet, weights: {path}, in_channels: 1, sha256: {file_sha256(path)}}}"
    rank_backbones(session(tmp_path), (stated,), tmp_path / "weights", None, silent)
    assert [getattr(entry, "weights", None) for entry in asked[0].candidates].count(path) == 1


def test_the_narrow_mobilenets_that_timm_does_not_list_are_known(tmp_path: Path) -> None:
    named = weights(tmp_path, "mobilenetv1_025.mine.safetensors")
    assert described_weights(named).name == "mobilenetv1_025"


def test_candidates_of_the_command_line(tmp_path: Path) -> None:
    assert parse_candidate("omniglot_resnet", tmp_path) == ShippedBackbone(kind="shipped", name="omniglot_resnet")
    path = weights(tmp_path, model_args={"act_layer": "relu6"})
    expected = TimmBackbone(kind="timm", name="test_resnet", weights=path, in_channels=1, model_args={"act_layer": "relu6"})
    assert parse_candidate(str(path), tmp_path) == expected
    written = parse_candidate("{kind: timm, name: resnet18, weights: a.safetensors}", tmp_path)
    assert written == TimmBackbone(kind="timm", name="resnet18", weights=tmp_path / "a.safetensors")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{kind: timm, name: resnet18}", r"timm: Value error, give either weights .* or hub"),
        ("{kind: nothing}", r"does not match any of the expected tags"),
        ("{kind: [", r"--candidate \{kind: \["),
    ],
)
def test_candidates_that_are_none(text: str, message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        parse_candidate(text, Path())


def test_an_architecture_that_timm_does_not_have(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"test_resnet\.mine.*_gen_net\(0\.25\) is no name of an architecture"):
        described_weights(weights(tmp_path, arch="_gen_net(0.25)"))


def test_a_description_that_is_no_json(tmp_path: Path) -> None:
    path = weights(tmp_path)
    path.with_suffix(".json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"test_resnet\.mine\.json.*cannot be used.*JSON"):
        described_weights(path)


@pytest.mark.parametrize("sidecar", ['{"input_size": 224}', '{"input_size": []}', '{"model_args": null}', '{"arch": 3}', "[]", "{"])
def test_a_bad_description_leaves_its_file_out_and_ranks_the_rest(tmp_path: Path, asked: list[BestOfBackbones], sidecar: str) -> None:
    (tmp_path / "weights").mkdir()
    good, bad = weights(tmp_path / "weights"), weights(tmp_path / "weights", "test_resnet.bad.safetensors", seed=1)
    bad.with_suffix(".json").write_text(sidecar)
    ranking = rank_backbones(session(tmp_path), (), tmp_path / "weights", None, silent)
    assert good in [getattr(entry, "weights", None) for entry in asked[0].candidates]
    assert list(ranking.left_out) == [bad.name]
    assert "test_resnet.bad.json, the description beside the weights" in ranking.left_out[bad.name]


@pytest.mark.parametrize(("name", "message"), [("empty", "a folder without a .safetensors file"), ("nowhere", "which is no folder")])
def test_a_folder_without_weights(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(ConfigurationError, match=message):
        rank_backbones(session(tmp_path), (), tmp_path / name, None, silent)


def test_the_table_says_what_was_probed_and_what_was_left_out(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")
    row = {"log_me": 0.5, "h_score": 2.25, "n_parameters": 1_500_000, "features_per_second": 812.3}
    accuracy = {"value": 0.875, "low": 0.8, "high": 0.95, "n": 40}
    rows = [row | {"backbone": "one", "log_loss": 0.41, "accuracy": accuracy}, row | {"backbone": "two"}]
    content = {"n_train": 100, "n_validation": 40, "reason": "kept one: [because]", "candidates": rows}
    print_ranking(BackboneRanking(content, {"bad.safetensors": "no sha256"}), as_json=False)
    text = capsys.readouterr().out
    for part in (
        "87.5 % (80.0 to 95.0)",
        "0.4100",
        "not probed",
        "812",
        "1.50 M",
        "kept one: [because]",
        "left out: bad.safetensors: no sha256",
    ):
        assert part in text
