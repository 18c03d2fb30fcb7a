"""Backbones of timm: where they come from, what is refused, and what is made of their description."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from pipelines.backbones import list_backbones, load_backbone, select_backbone, source_description
from pipelines.config import TimmBackbone
from pipelines.core.bundle import file_sha256
from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.core.preprocess import preprocess

ROOT = Path(__file__).resolve().parents[2]
NAME = "test_efficientnet"
REVISION = "0123456789abcdef0123456789abcdef01234567"
HUB = {"kind": "timm", "name": NAME, "hub": "timm/test", "revision": REVISION}


def save(path: Path, seed: int = 0) -> Path:
    """An untrained network with its classifier, as timm publishes them."""
    torch.manual_seed(seed)
    safetensors.torch.save_file({key: value.contiguous() for key, value in timm.create_model(NAME).state_dict().items()}, path)
    return path


@pytest.fixture
def weights(tmp_path: Path) -> Path:
    return save(tmp_path / "w.safetensors")


def entry(weights: Path, **changes: object) -> TimmBackbone:
    values = {"kind": "timm", "name": NAME, "weights": weights, "sha256": file_sha256(weights) if weights.is_file() else None}
    return TimmBackbone.model_validate(values | changes)


def load(config: TimmBackbone) -> torch.nn.Module:
    return load_backbone(config, select_backbone(config)).eval()


def test_it_gives_what_timms_own_network_gives(weights: Path) -> None:
    batch = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    own = timm.create_model(NAME)
    own.load_state_dict(safetensors.torch.load_file(weights))
    with torch.inference_mode():
        torch.testing.assert_close(load(entry(weights))(batch), own.eval().forward_head(own.forward_features(batch), pre_logits=True))


def test_an_unknown_name_lists_the_nearest(weights: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"'resnet_18'\. Allowed: a name that timm knows; the nearest are .*\bresnet18\b"):
        select_backbone(entry(weights, name="resnet_18"))


def test_weights_that_do_not_fit_name_keys_and_shapes(weights: Path) -> None:
    state = safetensors.torch.load_file(weights)
    del state["bn1.weight"]
    state["extra.weight"] = torch.zeros(1)
    state["bn1.bias"] = torch.zeros(3)
    safetensors.torch.save_file(state, weights)
    n_channels = timm.create_model(NAME).bn1.bias.numel()
    message = rf"bn1\.weight is missing; extra\.weight is not part of it; bn1\.bias has shape \[3\] instead of \[{n_channels}\]"
    with pytest.raises(IntegrityError, match=message):
        load(entry(weights))
    with pytest.raises(IntegrityError, match=r"that do not fit test_resnet: .*; and \d+ more"):
        load(entry(weights, name="test_resnet"))


def test_a_wrong_sha256(weights: Path) -> None:
    with pytest.raises(IntegrityError, match=rf"w\.safetensors with sha256 {file_sha256(weights)}\. Allowed: the stated sha256 {'0' * 64}"):
        select_backbone(entry(weights, sha256="0" * 64))


def test_a_missing_sha256_comes_with_the_line_to_add(weights: Path) -> None:
    with pytest.raises(ConfigurationError, match=rf"add `sha256: {file_sha256(weights)}` to backbone in the conf file"):
        select_backbone(entry(weights, sha256=None))


@pytest.mark.parametrize("suffix", [".bin", ".pt", ".pth", ".pkl"])
def test_a_pickle_is_refused_unread(weights: Path, suffix: str) -> None:
    with pytest.raises(ConfigurationError, match=r"no safetensors file.*never a pickle: loading one runs the code in it"):
        select_backbone(entry(weights.rename(weights.with_suffix(suffix))))


def test_weights_that_are_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="which is not there"):
        source_description(entry(tmp_path / "none.safetensors"))


def test_one_channel_gives_what_three_equal_channels_gave(weights: Path) -> None:
    grey = torch.rand(2, 1, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(load(entry(weights, in_channels=1))(grey), load(entry(weights))(grey.expand(-1, 3, -1, -1)))


def test_the_description_beside_the_weights_is_used(weights: Path) -> None:
    described = {
        "mean": [0.1, 0.2, 0.3],
        "std": [0.4, 0.5, 0.6],
        "input_size": [3, 48, 40],
        "crop_pct": 0.5,
        "pad_type": "same",
        "sha256": file_sha256(weights),
        "licence": "MIT",
        "arch": "the author's own",
    }
    weights.with_suffix(".json").write_text(json.dumps(described))
    config = entry(weights, sha256=None)
    chosen = select_backbone(config)
    assert (chosen.preprocess.mean, chosen.preprocess.std) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6))
    assert (chosen.preprocess.height_px, chosen.preprocess.width_px, chosen.preprocess.crop_frac) == (48, 40, 0.5)
    assert (chosen.spec.licence, chosen.spec.model_args) == ("MIT", {"pad_type": "same"})
    assert chosen.preprocess.jpeg_draft
    assert select_backbone(entry(weights, model_args={"pad_type": ""})).spec.model_args == {"pad_type": ""}
    stock = load(entry(weights, model_args={"pad_type": ""}))
    batch = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        assert not torch.allclose(load(config)(batch), stock(batch))


def test_a_description_that_cannot_be_read(weights: Path) -> None:
    weights.with_suffix(".json").write_text('{"crop_pct": 7}')
    with pytest.raises(ConfigurationError, match=r"w\.json, the description beside the weights, which cannot be read"):
        select_backbone(entry(weights))


def test_weights_that_were_replaced_after_they_were_selected(weights: Path) -> None:
    chosen = select_backbone(entry(weights))
    before = file_sha256(weights)
    save(weights, seed=1)
    with pytest.raises(IntegrityError, match=f"the stated sha256 {before}"):
        load_backbone(entry(weights), chosen)


def fill_cache(cache: Path) -> Path:
    """What a download of this commit leaves in the Hub's cache."""
    snapshot = cache / "models--timm--test" / "snapshots" / REVISION
    snapshot.mkdir(parents=True)
    described = {"mean": [0.1, 0.2, 0.3], "std": [0.5, 0.5, 0.5], "input_size": [3, 48, 48], "license": "mit"}
    (snapshot / "config.json").write_text(json.dumps({"architecture": NAME, "pretrained_cfg": described}))
    return save(snapshot / "model.safetensors")


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    # The library reads its environment once per process.
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    return fill_cache(tmp_path)


def test_a_pinned_commit_of_the_hub_from_the_cache(cached: Path) -> None:
    config = TimmBackbone.model_validate(HUB)
    chosen = select_backbone(config)
    assert chosen.spec.origin == f"timm/test@{REVISION}"
    assert (chosen.spec.weights_sha256, chosen.spec.licence) == (file_sha256(cached), "mit")
    assert chosen.preprocess.mean == (0.1, 0.2, 0.3)
    state, stored = load_backbone(config, chosen).state_dict(), safetensors.torch.load_file(cached)
    assert all(torch.equal(tensor, stored[key]) for key, tensor in state.items())


def test_hub_weights_that_changed_after_they_were_selected(cached: Path) -> None:
    """Nothing but the selection states their sha256."""
    config = TimmBackbone.model_validate(HUB)
    chosen = select_backbone(config)
    save(cached, seed=1)
    with pytest.raises(IntegrityError, match=rf"model\.safetensors with sha256 .* the stated sha256 {chosen.spec.weights_sha256}"):
        load_backbone(config, chosen)


def test_hub_weights_against_the_sha256_of_the_conf_file(cached: Path) -> None:
    assert cached.is_file()
    with pytest.raises(IntegrityError, match=f"the stated sha256 {'0' * 64}"):
        select_backbone(TimmBackbone.model_validate(HUB | {"sha256": "0" * 64}))


def test_a_commit_that_is_not_in_the_cache(cached: Path) -> None:
    assert cached.is_file()
    with pytest.raises(ConfigurationError, match=f"timm/test@{'f' * 40}, which could not be fetched"):
        source_description(TimmBackbone.model_validate(HUB | {"revision": "f" * 40}))


def test_the_environment_points_to_the_cache_and_keeps_it_offline(tmp_path: Path) -> None:
    weights = fill_cache(tmp_path)
    program = textwrap.dedent(f"""
        import sys
        from pipelines.backbones import source_description
        from pipelines.config import TimmBackbone
        print(source_description(TimmBackbone.model_validate({HUB!r}))["sha256"], "torch" in sys.modules)
    """)
    environment = {**os.environ, "HF_HUB_CACHE": str(tmp_path), "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True, capture_output=True, text=True)
    assert done.stdout.split() == [file_sha256(weights), "False"]


def test_names_are_found_by_a_part_or_a_pattern() -> None:
    assert NAME in list_backbones("efficientnet")["timm"]
    assert {"mobilenetv1_025", "mobilenetv1_100"} <= set(list_backbones("mobilenetv1")["timm"])
    assert list_backbones("omniglot*") == {"shipped": ["omniglot_resnet"], "timm": []}


@pytest.mark.slow
@pytest.mark.shared("that the same architecture with stock padding loses accuracy, so that a strict load alone proves nothing")
def test_stock_padding_loads_strictly_and_loses_accuracy(shared_dir: Path) -> None:
    weights = shared_dir / "weights" / "mobilenetv1_100.coral_qat_in1k.safetensors"
    stored = safetensors.torch.load_file(weights)
    files = sorted((shared_dir / "data" / "hymenoptera").rglob("*.jpg"))[::3]
    classes = torch.tensor([{"bees": 309, "ants": 310}[path.parent.name] for path in files])  # of ImageNet's thousand
    accuracy = []
    for arguments in ({}, {"pad_type": ""}):
        config = TimmBackbone.model_validate({"kind": "timm", "name": "mobilenetv1_100", "weights": weights, "model_args": arguments})
        chosen = select_backbone(config)
        images = torch.from_numpy(preprocess([path.read_bytes() for path in files], chosen.preprocess))
        with torch.inference_mode():
            features = load_backbone(config, chosen).eval()(images)
        logits = features @ stored["classifier.weight"].T + stored["classifier.bias"]
        accuracy.append(float((logits.argmax(dim=1) == classes).float().mean()))
    assert accuracy[0] > 0.7
    assert accuracy[1] < accuracy[0] - 0.05
