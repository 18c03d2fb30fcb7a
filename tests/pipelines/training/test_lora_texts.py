"""Method `lora` on tiny untrained transformers for texts: an encoder of `nn.Linear` and a decoder of `Conv1D`."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch

from pipelines.config import LoraMethod
from pipelines.core.bundle import read_manifest
from pipelines.core.predict import Predictor
from pipelines.import_data import import_samples
from pipelines.selected_backbone import read_selected
from pipelines.stages import Stages
from pipelines.training import loop
from pipelines.training.embedding import embed
from pipelines.training.gathering import material_for
from pipelines.training.lora import adapter_parameters, linear_layers, train_lora, with_adapters
from pipelines.training.material import Material, Trained
from pipelines.workspace import Workspace
from tests.pipelines.tiny_texts import sentences, text_config, write_model, write_table
from tests.pipelines.training.gradient_cases import StoppedError, copied, same, stopping_at

KINDS = ("bert", "gpt2")
METHOD: dict[str, object] = {"kind": "lora", "rank": 4, "epochs": 2, "batch_size": 16, "learning_rate": 0.01}
# Inputs and outputs of what is adapted, written down by hand: 2 layers of 32 features; BERT's inner width is 48, GPT-2's four times 32.
SHAPES = {
    "bert": 2 * [(32, 32), (32, 32), (32, 32), (32, 32), (32, 48), (48, 32)],
    "gpt2": 2 * [(32, 96), (32, 32), (32, 128), (128, 32)],
}
LAYERS = {
    "bert": (
        "attention.self.query",
        "attention.self.key",
        "attention.self.value",
        "attention.output.dense",
        "intermediate.dense",
        "output.dense",
    ),
    "gpt2": ("attn.c_attn", "attn.c_proj", "mlp.c_fc", "mlp.c_proj"),
}
BEFORE_LAYER = {"bert": "model.encoder.layer", "gpt2": "model.h"}

MakeMaterial = Callable[..., Material]


def adapted_names(kind: str) -> set[str]:
    return {f"{BEFORE_LAYER[kind]}.{number}.{name}" for number in range(2) for name in LAYERS[kind]}


@pytest.fixture
def material(tmp_path: Path) -> MakeMaterial:
    """Makes what a method is given: sentences of two kinds and a tiny transformer."""

    def make(kind: str, **changes: object) -> Material:
        config = text_config(write_model(tmp_path / kind, kind), method=METHOD | changes)
        root = tmp_path / f"w-{kind}"
        if not root.exists():
            import_samples(write_table(tmp_path / "source.csv", sentences(120)), root / "data", task="text")
        stages = Stages(Workspace(root), config)
        split, choice = stages.split(stages.manifest("d")), read_selected(stages.select().path / "backbone.json")
        folders = (root / "data", config, tmp_path / "features", tmp_path / "checkpoints")
        return material_for(choice, split.path / "samples.csv", *folders, lambda *_: None)

    return make


def run(made: Material) -> Trained:
    method: Any = made.config.method
    return train_lora(made, method)


@pytest.mark.parametrize("kind", KINDS)
def test_attention_and_mlp_are_adapted_and_nothing_else(material: MakeMaterial, kind: str) -> None:
    network = material(kind).fresh_backbone(0.0)
    assert set(linear_layers(network)) == adapted_names(kind)
    adapted = with_adapters(network, LoraMethod(kind="lora", rank=4), seed=0, name=kind)
    assert [parameter.requires_grad for parameter in adapter_parameters(adapted.model)] == [True] * 2 * len(SHAPES[kind])
    n_open = sum(parameter.numel() for parameter in adapted.model.parameters() if parameter.requires_grad)
    assert n_open == sum(4 * (n_in + n_out) for n_in, n_out in SHAPES[kind])


@pytest.mark.parametrize("kind", KINDS)
def test_merged_answers_as_unmerged_and_has_the_plain_names(material: MakeMaterial, kind: str) -> None:
    plain = material(kind).fresh_backbone(0.0).eval()
    ids = torch.tensor([[2, 17, 9, 30, 3], [2, 40, 3, -1, -1]])
    names = list(plain.state_dict())
    with torch.inference_mode():
        before = plain(ids)
    adapted = with_adapters(plain, LoraMethod(kind="lora", rank=4), seed=0, name=kind)
    with torch.inference_mode():
        torch.testing.assert_close(adapted.model.eval()(ids), before, rtol=0, atol=0)
        for parameter in adapter_parameters(adapted.model):
            parameter.add_(0.2 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
        unmerged = adapted.model(ids)
        merged = adapted.merge_and_unload().eval()
        torch.testing.assert_close(merged(ids), unmerged, rtol=1e-4, atol=1e-5)
    assert not torch.allclose(unmerged, before, atol=1e-2)
    assert list(merged.state_dict()) == names


def test_a_merged_conv1d_is_the_weight_plus_the_transposed_product(material: MakeMaterial) -> None:
    """By NumPy: a weight [in, out] becomes W + alpha / rank * (B A)^T."""
    network = material("gpt2").fresh_backbone(0.0)
    name = "model.h.1.mlp.c_fc"
    before: Any = network.get_submodule(name)
    weight = before.weight.detach().clone().numpy()
    adapted = with_adapters(network, LoraMethod(kind="lora", rank=3, alpha=12), seed=0, name="gpt2")
    layer: Any = adapted.model.get_submodule(name)
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_(generator=torch.Generator().manual_seed(0))
    down, up = (getattr(layer, part)["default"].weight.detach().numpy().copy() for part in ("lora_A", "lora_B"))
    merged: Any = adapted.merge_and_unload().get_submodule(name)
    assert weight.shape == (32, 128)
    np.testing.assert_allclose(merged.weight.detach().numpy(), weight + 4.0 * (up @ down).T, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("pleased")
def test_a_training_moves_the_adapters_and_the_head_alone(material: MakeMaterial, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unmerged, so that it is the training that is looked at; then what was merged."""
    import pipelines.training.lora as module

    seen: dict[str, dict[str, torch.Tensor]] = {}
    original = module.train_from

    def watched(made: Material, method: Any, network: Any, *arguments: Any, **named: Any) -> Trained:
        seen["start"] = copied(network.state_dict())
        trained = original(made, method, network, *arguments, **named)
        seen["end"] = copied(trained.network.state_dict())
        seen["unmerged"] = {"logits": torch.from_numpy(embed(trained.network, made.validation))}
        return trained

    monkeypatch.setattr(module, "train_from", watched)
    made = material(kind)
    trained = run(made)
    moved = {name for name, tensor in seen["end"].items() if not torch.equal(tensor, seen["start"][name])}
    expected = {f"0.{layer}.lora_{part}.default.weight" for layer in adapted_names(kind) for part in "AB"} | {"1.weight", "1.bias"}
    assert moved == expected
    after, before = trained.network[0].state_dict(), made.fresh_backbone(0.0).state_dict()
    assert list(after) == list(before)
    assert {name for name in before if not torch.equal(after[name], before[name])} == {f"{layer}.weight" for layer in adapted_names(kind)}
    np.testing.assert_allclose(embed(trained.network, made.validation), seen["unmerged"]["logits"].numpy(), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_record_states_the_share(material: MakeMaterial, tmp_path: Path, kind: str) -> None:
    """Against a count of the file's own tensors."""
    record: Any = run(material(kind, epochs=1)).record
    adapters = record["adapters"]
    n_file = sum(
        tensor.numel()
        for name, tensor in safetensors.torch.load_file(tmp_path / kind / "model.safetensors").items()
        if "pooler" not in name
    )
    n_head = 2 * (32 + 1)
    assert adapters["n_layers"] == len(SHAPES[kind])
    assert adapters["n_trained"] == sum(4 * (n_in + n_out) for n_in, n_out in SHAPES[kind]) + n_head
    assert adapters["n_all"] == n_file + n_head
    assert adapters["trained_frac"] == adapters["n_trained"] / adapters["n_all"] < 0.3
    assert record["method"] == "lora"


@pytest.mark.parametrize("kind", KINDS)
def test_twice_gives_the_same_bits_and_a_killed_one_goes_on(material: MakeMaterial, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_CHECKPOINT_FRAC", 1e9)
    changes: dict[str, object] = {"adapter_dropout": 0.1, "ema_decay": 0.9}
    whole = run(material(kind, **changes))
    shutil.rmtree(material(kind).checkpoints)
    with pytest.raises(StoppedError):
        # In the second epoch: the first one's end is on the disk, with optimiser, average and adapters.
        run(dataclasses.replace(material(kind, **changes), progress=stopping_at(8)))
    assert list(material(kind).checkpoints.iterdir())
    resumed = run(material(kind, **changes))
    assert resumed.record == whole.record
    assert same(resumed.network.state_dict(), whole.network.state_dict())


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.usefixtures("pleased")
def test_the_stages_seal_plain_weights(tmp_path: Path, kind: str) -> None:
    """From the table to a bundle that answers, in the names and shapes of a bundle whose backbone nobody adapted."""

    def packaged(method: dict[str, object]) -> tuple[Path, Path]:
        stages = Stages(Workspace(tmp_path / "w"), text_config(write_model(tmp_path / "model", kind), method=method))
        dataset = hashlib.sha256((tmp_path / "w" / "data" / "labels.csv").read_bytes()).hexdigest()
        split = stages.split(stages.manifest(dataset))
        selected = stages.select(split)
        trained = stages.train(split, selected)
        return stages.package(dataset, split, selected, trained, stages.calibrate(trained)).path / "bundle", trained.path

    import_samples(write_table(tmp_path / "source.csv", sentences(120)), tmp_path / "w" / "data", task="text")
    (adapted, trained), (probe, _) = packaged(METHOD), packaged({"kind": "probe"})
    tensors = [safetensors.torch.load_file(bundle / "weights.safetensors") for bundle in (adapted, probe)]
    assert {name: tensor.shape for name, tensor in tensors[0].items()} == {name: tensor.shape for name, tensor in tensors[1].items()}
    assert not same(*tensors)
    assert read_manifest(adapted)[0].backbone == read_manifest(probe)[0].backbone
    assert json.loads((trained / "training.json").read_bytes())["adapters"]["trained_frac"] > 0
    asked = sentences(60, seed=9)
    answers = Predictor.load(adapted).predict([text.encode() for text, _ in asked])
    assert sum(said == label for said, (_, label) in zip(answers.labels, asked, strict=True)) >= 45


def test_adapters_for_texts_have_a_rate_of_their_own(tmp_path: Path) -> None:
    folder = write_model(tmp_path / "model")
    silent: Any = text_config(folder, method={"kind": "lora"}).method
    assert (silent.learning_rate, silent.layer_decay, silent.augment.policy) == (5e-4, 0.9, "none")
    stated: Any = text_config(folder, method={"kind": "lora", "learning_rate": 0.5}).method
    assert stated.learning_rate == 0.5
