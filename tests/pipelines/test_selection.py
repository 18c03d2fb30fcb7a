from __future__ import annotations

import itertools
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import timm
import torch

from pipelines import selection
from pipelines.backbones import select_backbone
from pipelines.config import BestOfBackbones, ProbeMethod, ProjectConfig, ShippedBackbone, TimmBackbone
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import ConfigurationError, DataError
from pipelines.selected_backbone import SelectedBackbone, read_selected
from pipelines.selection import _forward_flops, candidate_names, probe_section, select_best
from pipelines.stages import Stages
from pipelines.store import StageOutput
from pipelines.training.gathering import material_for
from pipelines.training.linear import train_probe
from pipelines.training.material import Material
from pipelines.training.ranking import h_score, log_me
from pipelines.workspace import Workspace
from tests.pipelines.conftest import tiny_config

PREPROCESS = {"color": "L", "height_px": 32, "width_px": 32, "mean": [0.5], "std": [0.5]}


def entry(weights: Path, name: str = "test_resnet") -> dict[str, object]:
    return {
        "kind": "timm",
        "name": name,
        "weights": str(weights),
        "sha256": file_sha256(weights),
        "in_channels": 1,
        "preprocess": PREPROCESS,
    }


@pytest.fixture(scope="module")
def blind_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A `test_resnet` that sees the image's mean alone: features nearly without information."""
    torch.manual_seed(0)
    network = timm.create_model("test_resnet", in_chans=1, num_classes=0)
    state = {name: tensor.contiguous() for name, tensor in network.state_dict().items()}
    first = next(name for name in state if state[name].ndim == 4)
    state[first] = torch.zeros_like(state[first])
    path = tmp_path_factory.mktemp("blind") / "blind.safetensors"
    safetensors.torch.save_file(state, path)
    return path


@pytest.fixture(scope="module")
def vit_weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(1)
    network = timm.create_model("test_vit", in_chans=1, num_classes=0, img_size=32)
    path = tmp_path_factory.mktemp("vit") / "vit.safetensors"
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in network.state_dict().items()}, path)
    return path


def best_of(*candidates: dict[str, object], n_probed: int = 2, weights: Path) -> ProjectConfig:
    return tiny_config(
        weights, backbone={"kind": "best_of", "candidates": candidates, "n_probed": n_probed}, method={"kind": "probe", "strengths": [0.1]}
    )


def run(config: ProjectConfig, digits_folder: Path, root: Path) -> tuple[Path, dict[str, Any]]:
    out = root / "out"
    out.mkdir()
    assert isinstance(config.backbone, BestOfBackbones)
    select_best(config.backbone, digits_folder / "samples.csv", digits_folder / "data", config, root / "features", out)
    return out, json.loads((out / "ranking.json").read_bytes())


def test_the_backbone_that_sees_is_chosen(digits_folder: Path, tiny_weights: Path, blind_weights: Path, tmp_path: Path) -> None:
    config = best_of(entry(blind_weights), entry(tiny_weights), weights=tiny_weights)
    out, ranking = run(config, digits_folder, tmp_path)
    selected = read_selected(out / "backbone.json")
    assert selected.candidate == ranking["chosen"] == 1
    assert selected.spec.weights_sha256 == file_sha256(tiny_weights)
    rows = ranking["candidates"]
    assert [row["candidate"] for row in rows] == [1, 0]
    assert [row["outcome"] for row in rows] == ["kept", "probed"]
    assert rows[0]["log_loss"] < rows[1]["log_loss"]
    assert "more than one standard error" in rows[1]["reason"]
    assert ranking["reason"] == f"kept test_resnet (test_resnet): {rows[0]['reason']}"


def test_scores_are_those_of_the_features(digits_folder: Path, tiny_weights: Path, vit_weights: Path, tmp_path: Path) -> None:
    vit = entry(vit_weights, "test_vit") | {"model_args": {"img_size": 32}}
    config = best_of(entry(tiny_weights), vit, n_probed=1, weights=tiny_weights)
    out, ranking = run(config, digits_folder, tmp_path)
    chosen = read_selected(out / "backbone.json")
    material = material_for(
        chosen, digits_folder / "samples.csv", digits_folder / "data", config, tmp_path / "features", tmp_path, lambda *_: None
    )
    row = next(row for row in ranking["candidates"] if row["candidate"] == chosen.candidate)
    features = material.features(material.train)
    assert row["log_me"] == pytest.approx(log_me(features, material.train.targets))
    assert row["h_score"] == pytest.approx(h_score(features, material.train.targets))
    network = train_probe(material, ProbeMethod(strengths=(0.1,))).network
    with torch.inference_mode():
        answers = network(torch.from_numpy(material.validation.batch(range(len(material.validation))))).argmax(1).numpy()
    assert row["accuracy"]["value"] == pytest.approx((answers == material.validation.targets).mean())
    unprobed = next(row for row in ranking["candidates"] if row["candidate"] != chosen.candidate)
    assert unprobed["outcome"] == "ranked"
    assert "log_loss" not in unprobed
    assert unprobed["reason"] == "rank 2 by transferability; the best 1 were probed"


def test_of_equals_the_cheaper_is_kept_and_nothing_depends_on_time(
    digits_folder: Path, tiny_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two names of the same weights, the first said to take twice the operations."""
    costs = itertools.cycle([2, 1])
    monkeypatch.setattr("pipelines.selection._forward_flops", lambda *_: next(costs))
    other = entry(tiny_weights) | {"preprocess": PREPROCESS | {"max_pixels": 1_000_000}}
    config = best_of(other, entry(tiny_weights), weights=tiny_weights)
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    out, ranking = run(config, digits_folder, tmp_path / "first")
    again, _ = run(config, digits_folder, tmp_path / "second")
    assert ranking["chosen"] == 1
    for name in ("backbone.json", "ranking.json"):
        assert (out / name).read_bytes() == (again / name).read_bytes()
    assert set(json.loads((out / "costs.json").read_bytes())) == {
        f"test_resnet (test_resnet) #{number}: {part}" for number in (1, 2) for part in ("features", "probe")
    }


def test_operations_are_those_of_the_multiplications(tiny_weights: Path, digits_folder: Path, tmp_path: Path) -> None:
    config = tiny_config(tiny_weights)
    assert isinstance(config.backbone, TimmBackbone)
    chosen = select_backbone(config.backbone)
    samples = digits_folder / "samples.csv"
    material = material_for(chosen, samples, digits_folder / "data", config, tmp_path / "features", tmp_path, lambda *_: None)
    side_px, n_filters = 32, 6
    layer = torch.nn.Conv2d(1, n_filters, 3, padding=1)
    assert _forward_flops(layer, material) == 2 * side_px**2 * n_filters * 3 * 3


def stages(root: Path, config: ProjectConfig) -> Stages:
    return Stages(Workspace(root), config)


def test_the_stage_keeps_features_for_training_and_its_output_for_the_next_run(
    digits_folder: Path, tiny_weights: Path, blind_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(digits_folder / "data", tmp_path / "data")
    split = StageOutput("split", "0" * 64, digits_folder, cached=True, seconds=0)
    config = best_of(entry(blind_weights), entry(tiny_weights), weights=tiny_weights)
    chosen = stages(tmp_path, config).select(split)
    assert read_selected(chosen.path / "backbone.json").candidate == 1
    assert stages(tmp_path, config).select(split).cached
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.training.kept_rows.embedded", lambda *_, **__: pytest.fail("features were computed again"))
        trained = stages(tmp_path, config).train(split, chosen)
    assert json.loads((trained.path / "training.json").read_bytes())["method"] == "probe"
    assert not stages(tmp_path, config).select(StageOutput("split", "1" * 64, digits_folder, cached=True, seconds=0)).cached


def test_method_auto_as_a_stage_leaves_its_record_and_costs(digits_folder: Path, tiny_weights: Path, tmp_path: Path) -> None:
    shutil.copytree(digits_folder / "data", tmp_path / "data")
    split = StageOutput("split", "0" * 64, digits_folder, cached=True, seconds=0)
    made = stages(tmp_path, tiny_config(tiny_weights, method={"kind": "auto", "fine_tune": {"kind": "lp_ft", "n_upper_blocks": 0}}))
    trained = made.train(split, made.select(split)).path
    record = json.loads((trained / "training.json").read_bytes())
    assert [row["way"] for row in record["tried"]] == ["prototype", "probe"]
    assert set(json.loads((trained / "costs.json").read_bytes())) == {"features", "prototype", "probe"}
    validation = safetensors.torch.load_file(trained / "validation.safetensors")
    assert len(validation["logits"]) == len(validation["targets"]) == record["n_validation"]
    assert not list((tmp_path / ".regraft" / "checkpoints").iterdir())


def test_where_the_weights_lie_does_not_matter(digits_folder: Path, tiny_weights: Path, blind_weights: Path, tmp_path: Path) -> None:
    shutil.copytree(digits_folder / "data", tmp_path / "data")
    split = StageOutput("split", "0" * 64, digits_folder, cached=True, seconds=0)
    (tmp_path / "elsewhere").mkdir()
    moved = Path(shutil.copy(blind_weights, tmp_path / "elsewhere"))
    stages(tmp_path, best_of(entry(blind_weights), entry(tiny_weights), weights=tiny_weights)).select(split)
    assert stages(tmp_path, best_of(entry(moved), entry(tiny_weights), weights=tiny_weights)).select(split).cached


def test_a_single_backbone_needs_no_split_and_does_not_depend_on_it(tiny_weights: Path, digits_folder: Path, tmp_path: Path) -> None:
    made = stages(tmp_path, tiny_config(tiny_weights))
    first = made.select(StageOutput("split", "0" * 64, digits_folder, cached=True, seconds=0))
    assert made.select().fingerprint == first.fingerprint


def test_several_backbones_need_a_split(tiny_weights: Path, blind_weights: Path, tmp_path: Path) -> None:
    config = best_of(entry(blind_weights), entry(tiny_weights), weights=tiny_weights)
    with pytest.raises(ConfigurationError, match="best_of, to be resolved without samples"):
        stages(tmp_path, config).select()


def test_the_probe_is_the_projects_own(tiny_weights: Path) -> None:
    own = {"kind": "probe", "strengths": [0.5]}
    for method in (own, {"kind": "auto", "probe": own}, {"kind": "lp_ft", "probe": own}):
        assert probe_section(tiny_config(tiny_weights, method=method)).strengths == (0.5,)
    assert probe_section(tiny_config(tiny_weights, method={"kind": "scratch"})) == ProbeMethod()


def test_names_tell_candidates_apart() -> None:
    shipped = ShippedBackbone(kind="shipped")
    one, two = (TimmBackbone(kind="timm", name="resnet18", weights=Path(f"/{name}.safetensors")) for name in ("a", "b"))
    assert candidate_names([shipped, one]) == ["omniglot_resnet", "resnet18"]
    assert candidate_names([one, two]) == ["resnet18 (a)", "resnet18 (b)"]
    hub_style = one.model_copy(update={"weights": Path("/resnet18.a1_in1k.safetensors")})
    assert candidate_names([one, hub_style, shipped]) == ["resnet18 (a)", "resnet18.a1_in1k", "omniglot_resnet"]
    assert candidate_names([one, two, one]) == ["resnet18 (a) #1", "resnet18 (b)", "resnet18 (a) #3"]


@pytest.fixture
def overflowing(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Hashes of weights whose features of the samples overflow, though those of a plain image do not."""
    hashes: set[str] = set()

    def made(choice: SelectedBackbone, *places: Any) -> Material:
        material = material_for(choice, *places)
        if choice.spec.weights_sha256 not in hashes:
            return material
        return replace(material, features=lambda inputs: np.full((len(inputs), 4), np.inf, np.float32))

    monkeypatch.setattr(selection, "material_for", made)
    return hashes


def test_a_candidate_whose_features_are_not_finite_is_refused_and_the_rest_ranked(
    digits_folder: Path, tiny_weights: Path, blind_weights: Path, tmp_path: Path, overflowing: set[str]
) -> None:
    overflowing.add(file_sha256(blind_weights))
    config = best_of(entry(blind_weights), entry(tiny_weights), weights=tiny_weights)
    out, ranking = run(config, digits_folder, tmp_path)
    assert read_selected(out / "backbone.json").candidate == ranking["chosen"] == 1
    assert [row["candidate"] for row in ranking["candidates"]] == [1]
    (refused,) = ranking["refused"]
    assert (refused["backbone"], refused["candidate"]) == ("test_resnet (blind)", 0)
    assert refused["reason"].startswith("features that are not finite")
    assert set(json.loads((out / "speed.json").read_bytes())) == {"test_resnet (test_resnet)"}


def test_where_no_candidate_has_finite_features_all_are_named(
    digits_folder: Path, tiny_weights: Path, blind_weights: Path, tmp_path: Path, overflowing: set[str]
) -> None:
    overflowing |= {file_sha256(blind_weights), file_sha256(tiny_weights)}
    config = best_of(entry(blind_weights), entry(tiny_weights), weights=tiny_weights)
    with pytest.raises(DataError, match=r"\(blind\): features that are not finite.*\(test_resnet\): features that are not finite"):
        run(config, digits_folder, tmp_path)
