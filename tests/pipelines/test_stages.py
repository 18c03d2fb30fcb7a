"""What the stages' keys and the sealed bundle depend on, and what not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from pipelines import backbones, store
from pipelines.backbones import SHIPPED_FOLDER
from pipelines.config import ProjectConfig
from pipelines.core.bundle import file_sha256, read_manifest
from pipelines.dataset import read_samples, write_samples
from pipelines.exclusive import exclusive
from pipelines.split import COPIES
from pipelines.stages import Stages
from pipelines.store import StageOutput, StageStore
from pipelines.workspace import Workspace
from tests.pipelines.conftest import tiny_config

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def described(tmp_path: Path, tiny_weights: Path) -> Path:
    """Weights with a description beside them."""
    weights = Path(shutil.copy(tiny_weights, tmp_path / "w.safetensors"))
    describe(weights)
    return weights


def describe(weights: Path, **changes: object) -> None:
    values = {"mean": [0.5], "std": [0.25], "input_size": [1, 32, 32], "sha256": file_sha256(weights), "licence": "MIT"}
    weights.with_suffix(".json").write_text(json.dumps(values | changes))


def stages(root: Path, weights: Path, **changes: object) -> Stages:
    backbone = {"kind": "timm", "name": "test_resnet", "weights": str(weights), "in_channels": 1}
    return Stages(Workspace(root / "workspace"), tiny_config(weights, **({"backbone": backbone} | changes)))


def selected(output: StageOutput) -> dict[str, dict[str, object]]:
    content: dict[str, dict[str, object]] = json.loads((output.path / "backbone.json").read_bytes())
    return content


@pytest.mark.parametrize(
    ("change", "section", "key", "value"),
    [
        ({"mean": [0.25]}, "preprocess", "mean", [0.25]),
        ({"std": [0.75]}, "preprocess", "std", [0.75]),
        ({"input_size": [1, 48, 48]}, "preprocess", "height_px", 48),
        ({"crop_pct": 0.5}, "preprocess", "crop_frac", 0.5),
        ({"licence": "CC-BY-4.0"}, "spec", "licence", "CC-BY-4.0"),
    ],
)
def test_a_changed_description_selects_again(
    tmp_path: Path, described: Path, change: dict[str, object], section: str, key: str, value: object
) -> None:
    first = stages(tmp_path, described).select()
    describe(described, **change)
    second = stages(tmp_path, described).select()
    assert not second.cached
    assert selected(first)[section][key] != value
    assert selected(second)[section][key] == value


def test_another_layout_or_place_of_the_same_description_selects_nothing(tmp_path: Path, described: Path) -> None:
    first = stages(tmp_path, described).select()
    sidecar = described.with_suffix(".json")
    sidecar.write_text(json.dumps(dict(reversed(json.loads(sidecar.read_text()).items())) | {"note": "the author's own"}, indent=4))
    (tmp_path / "moved").mkdir()
    moved = [Path(shutil.move(path, tmp_path / "moved" / path.name)) for path in (described, sidecar)]
    second = stages(tmp_path, moved[0]).select()
    assert second.cached
    assert second.fingerprint == first.fingerprint


@pytest.mark.parametrize(("section", "key", "value"), [("preprocess", "mean", [0.125]), ("spec", "licence", "MIT")])
def test_a_changed_card_selects_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, section: str, key: str, value: object) -> None:
    shutil.copytree(SHIPPED_FOLDER, tmp_path / "backbones")
    monkeypatch.setattr(backbones, "SHIPPED_FOLDER", tmp_path / "backbones")
    values = tiny_config(next(SHIPPED_FOLDER.glob("*/*.safetensors"))).model_dump() | {"backbone": {"kind": "shipped"}}
    made = Stages(Workspace(tmp_path / "workspace"), ProjectConfig.model_validate(values))
    first = made.select()
    assert made.select().cached
    path = next((tmp_path / "backbones").glob("*/card.json"))
    card = json.loads(path.read_bytes())
    card[section][key] = value
    path.write_text(json.dumps(card))
    second = made.select()
    assert not second.cached
    assert selected(second)[section][key] == value != selected(first)[section][key]


def test_an_unchanged_backbone_is_found_without_torch(tmp_path: Path, described: Path) -> None:
    program = textwrap.dedent(f"""
        import sys
        from pathlib import Path
        from tests.pipelines.test_stages import stages
        cached = stages(Path({str(tmp_path)!r}), Path({str(described)!r})).select().cached
        print(cached, sorted({{"torch", "timm"}} & set(sys.modules)))
    """)
    command = [sys.executable, "-c", program]
    first, second = (subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.strip() for _ in range(2))
    assert (first, second) == ("False ['timm', 'torch']", "True []")


def test_other_code_that_makes_the_same_gives_the_same_bundle(
    tmp_path: Path, tiny_weights: Path, digits_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A comment in the training code runs the stages again; what comes out is the version that is there already."""
    workspace = tmp_path / "workspace"
    workspace.mkdir()
    shutil.copytree(digits_folder / "data", workspace / "data")
    shutil.copytree(digits_folder, tmp_path / "split", ignore=shutil.ignore_patterns("data"))
    (tmp_path / "split" / COPIES).write_text("path,copy_of\n")
    first = sealed(workspace, tiny_config(tiny_weights), tmp_path / "split")
    before = store.code_digest
    monkeypatch.setattr(store, "code_digest", lambda module: before(module)[::-1])
    second = sealed(workspace, tiny_config(tiny_weights), tmp_path / "split")
    assert first.fingerprint != second.fingerprint
    assert not second.cached
    assert read_manifest(first.path / "bundle") == read_manifest(second.path / "bundle")
    lineage = json.loads((second.path / "bundle" / "lineage.json").read_bytes())
    assert lineage["split"] == file_sha256(digits_folder / "samples.csv")
    assert {"dataset", "train_domains", "n_samples"} <= lineage.keys()
    assert "train" not in lineage


def sealed(workspace: Path, config: ProjectConfig, split_folder: Path) -> StageOutput:
    made = Stages(Workspace(workspace), config)
    split = StageOutput("split", store.code_digest("pipelines.split"), split_folder, cached=True, seconds=0)
    chosen = made.select()
    trained = made.train(split, chosen)
    return made.package("0" * 32, split, chosen, trained, made.calibrate(trained))


def test_weights_are_asked_once_for_each_backbone_and_shipped_ones_never(tmp_path: Path, tiny_weights: Path, digits_folder: Path) -> None:
    shutil.copytree(digits_folder / "data", tmp_path / "data")
    made = Stages(Workspace(tmp_path), tiny_config(tiny_weights))
    split, other = (StageOutput("split", name * 64, digits_folder, cached=True, seconds=0) for name in "ab")
    first = made.check_weights(split, made.select())
    assert first is not None
    assert not first.cached
    found = json.loads((first.path / "sanity.json").read_bytes())
    assert [finding["check"] for finding in found["findings"]] == ["layers", "knowledge"]  # the tiny weights are untrained
    again = made.check_weights(other, made.select())
    assert again is not None
    assert again.cached
    shipped = Stages(Workspace(tmp_path), tiny_config(tiny_weights, backbone={"kind": "shipped"}))
    assert shipped.check_weights(split, shipped.select()) is None


def test_too_few_images_are_no_answer_for_more_of_them(tmp_path: Path, tiny_weights: Path, digits_folder: Path) -> None:
    shutil.copytree(digits_folder / "data", tmp_path / "data")
    samples = read_samples(digits_folder / "samples.csv")
    few = [sample for sample in samples if sample.split == "train"][:15] + [sample for sample in samples if sample.split != "train"]
    (tmp_path / "few").mkdir()
    write_samples(few, tmp_path / "few" / "samples.csv")
    made = Stages(Workspace(tmp_path), tiny_config(tiny_weights))
    first, second = (
        made.check_weights(StageOutput("split", name * 64, folder, cached=True, seconds=0), made.select())
        for name, folder in (("a", tmp_path / "few"), ("b", digits_folder))
    )
    assert first is not None
    assert second is not None
    assert not second.cached
    assert [json.loads((each.path / "sanity.json").read_bytes())["n_images"] for each in (first, second)] == [0, 64]


def test_checkpoints_that_nobody_went_on_with_are_removed_when_a_training_ends(
    tmp_path: Path, tiny_weights: Path, digits_folder: Path
) -> None:
    shutil.copytree(digits_folder / "data", tmp_path / "data")
    made = Stages(Workspace(tmp_path), tiny_config(tiny_weights))
    folders = {name: made.workspace.checkpoints / (name[0] * 64) for name in ("abandoned", "busy", "current", "deep")}
    folders["else's"] = made.workspace.checkpoints / "else's"
    fortnight_ago = time.time() - 15 * 86_400
    for name, folder in folders.items():
        (folder / "tried").mkdir(parents=True)
        (folder / "tried" / "step-1").touch()
        for path in (folder / "tried" / "step-1", folder / "tried", folder):
            if name != "current" and (name != "deep" or path.name != "step-1"):
                os.utime(path, (fortnight_ago, fortnight_ago))
    split = StageOutput("split", "a" * 64, digits_folder, cached=True, seconds=0)
    chosen = made.select()
    with exclusive(StageStore(made.workspace.store).lock("train", folders["busy"].name)):
        made.train(split, chosen)
    assert {name for name, folder in folders.items() if folder.exists()} == {"busy", "current", "deep", "else's"}
    assert made.train(split, chosen).cached
    assert folders["busy"].exists()
