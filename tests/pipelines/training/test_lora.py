from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from pipelines.config import LoraMethod
from pipelines.core.backbones import BackboneSpec
from pipelines.core.errors import ConfigurationError
from pipelines.training import loop
from pipelines.training.linear import train_probe
from pipelines.training.lora import adapter_parameters, linear_layers, train_lora, with_adapters
from pipelines.training.material import Material, Trained
from tests.pipelines.training.gradient_cases import StoppedError, copied, same, small_material, stopping_at

QUICK: dict[str, object] = {"kind": "lora", "epochs": 2, "batch_size": 16, "learning_rate": 0.01, "augment": {"policy": "none"}}
NETWORKS = ("test_vit", "test_convnext", "test_vit2")


def vit() -> nn.Module:
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        network: nn.Module = timm.create_model("test_vit", in_chans=1, num_classes=0, img_size=32)
    return network


@pytest.fixture
def material(tiny_weights: Path, digits_folder: Path, tmp_path: Path) -> Any:
    """Makes what a method is given, with a small ViT for a backbone."""

    def make(**changes: object) -> Material:
        made = small_material(tiny_weights, digits_folder, tmp_path, QUICK | changes)
        from pipelines.training.embedding import embed

        spec = BackboneSpec(name="test_vit", in_channels=1, model_args={"img_size": 32}, origin="untrained", weights_sha256=None)
        selected = made.selected.model_copy(update={"spec": spec})
        return dataclasses.replace(made, selected=selected, fresh_backbone=lambda _: vit(), features=lambda source: embed(vit(), source))

    return make


def run(made: Material) -> Trained:
    method: Any = made.config.method
    return train_lora(made, method)


@pytest.mark.parametrize("name", NETWORKS)
def test_merged_answers_as_unmerged_and_has_the_plain_names(name: str) -> None:
    arguments = {"img_size": 32} if "vit" in name else {}
    with torch.random.fork_rng([]):
        torch.manual_seed(0)
        plain = timm.create_model(name, in_chans=1, num_classes=0, **arguments).eval()
    for gamma in (parameter for key, parameter in plain.named_parameters() if key.endswith("gamma")):
        gamma.data.fill_(1.0)  # layer scale begins so small that no branch would be seen in the output
    rows = torch.randn(3, 1, 32, 32, generator=torch.Generator().manual_seed(1))
    names, untouched = list(plain.state_dict()), copied(plain.state_dict())
    with torch.inference_mode():
        before = plain(rows)
    adapted = with_adapters(plain, LoraMethod(kind="lora", rank=4), seed=0, name=name)
    with torch.inference_mode():
        torch.testing.assert_close(adapted.model.eval()(rows), before, rtol=0, atol=0)
        for parameter in adapter_parameters(adapted.model):
            parameter.add_(0.02 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(2)))
        unmerged = adapted.model(rows)
        merged = adapted.merge_and_unload().eval()
        torch.testing.assert_close(merged(rows), unmerged, rtol=1e-5, atol=1e-5)
    assert not torch.allclose(unmerged, before, atol=1e-3)
    assert list(merged.state_dict()) == names
    changed = {name for name in names if not torch.equal(merged.state_dict()[name], untouched[name])}
    assert changed == {f"{layer}.weight" for layer in linear_layers(merged)}


def test_a_merged_layer_is_the_weight_plus_the_scaled_product() -> None:
    """By NumPy: W + alpha / rank * B A."""
    network = vit()
    weight = network.get_submodule("blocks.0.mlp.fc1").weight.detach().clone().numpy()  # type: ignore[union-attr,operator]
    adapted = with_adapters(network, LoraMethod(kind="lora", rank=3, alpha=12), seed=0, name="test_vit")
    layer: Any = adapted.model.get_submodule("blocks.0.mlp.fc1")
    with torch.no_grad():
        layer.lora_B["default"].weight.normal_(generator=torch.Generator().manual_seed(0))
    down, up = (getattr(layer, part)["default"].weight.detach().numpy().copy() for part in ("lora_A", "lora_B"))
    merged: Any = adapted.merge_and_unload().get_submodule("blocks.0.mlp.fc1")
    np.testing.assert_allclose(merged.weight.detach().numpy(), weight + 4.0 * up @ down, rtol=1e-5, atol=1e-6)


@pytest.mark.usefixtures("pleased")
def test_a_training_moves_the_adapted_layers_and_the_head_alone(material: Any) -> None:
    trained = run(material())
    after, before = trained.network[0].state_dict(), vit().state_dict()
    assert list(after) == list(before)
    changed = {name for name in before if not torch.equal(after[name], before[name])}
    assert changed == {f"{layer}.weight" for layer in linear_layers(vit())}
    assert list(trained.network[1].state_dict()) == ["weight", "bias"]


@pytest.mark.usefixtures("pleased")
def test_what_ships_answers_as_what_was_judged(material: Any) -> None:
    """The last epoch's accuracy is measured unmerged; the merged network has the same log loss."""
    from pipelines.training.embedding import embed

    made = material()
    seen: dict[str, np.ndarray] = {}

    def keep(network: nn.Sequential) -> None:
        seen["unmerged"] = embed(network, made.validation)

    import pipelines.training.lora as module

    original = module.train_from

    def train_and_keep(*arguments: Any, **named: Any) -> Trained:
        trained = original(*arguments, **named)
        keep(trained.network)
        return trained

    module.train_from = train_and_keep
    try:
        trained = run(made)
    finally:
        module.train_from = original
    np.testing.assert_allclose(embed(trained.network, made.validation), seen["unmerged"], rtol=1e-4, atol=1e-5)


def test_the_record_states_the_share_and_the_memory(material: Any) -> None:
    record: Any = run(material(rank=2)).record
    adapters = record["adapters"]
    layers = [module for module in vit().modules() if isinstance(module, nn.Linear)]
    n_head = 4 * (layers[0].in_features + 1)
    assert adapters["n_trained"] == sum(2 * (layer.in_features + layer.out_features) for layer in layers) + n_head
    assert adapters["n_layers"] == len(layers)
    assert adapters["n_all"] == sum(parameter.numel() for parameter in vit().parameters()) + n_head
    assert adapters["trained_frac"] == adapters["n_trained"] / adapters["n_all"] < 0.2
    assert adapters["training_bytes"] == 12 * adapters["n_trained"]
    assert record["method"] == "lora"
    assert record["probe"]


def test_at_no_rate_it_is_the_probe(material: Any) -> None:
    made = material(learning_rate=1e-12)
    trained, probe = run(made), train_probe(made, made.config.method.probe)
    rows = torch.from_numpy(made.validation.batch(np.arange(20)))
    with torch.inference_mode():
        torch.testing.assert_close(trained.network(rows), probe.network.eval()(rows), rtol=1e-4, atol=1e-4)


def test_twice_gives_the_same_bits_and_a_killed_one_goes_on(material: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop, "_CHECKPOINT_FRAC", 1e9)
    changes: dict[str, object] = {"adapter_dropout": 0.1, "ema_decay": 0.9}
    whole = run(material(**changes))
    shutil.rmtree(material().checkpoints)
    with pytest.raises(StoppedError):
        run(dataclasses.replace(material(**changes), progress=stopping_at(4)))
    resumed = run(material(**changes))
    assert resumed.record == whole.record
    assert same(resumed.network.state_dict(), whole.network.state_dict())


def test_a_network_without_linear_layers(tiny_weights: Path, digits_folder: Path, tmp_path: Path) -> None:
    made = small_material(tiny_weights, digits_folder, tmp_path, QUICK)
    with pytest.raises(ConfigurationError, match=r"method lora for test_resnet, which has no linear layer\. Allowed: .*ViT.*lp_ft"):
        run(made)


@pytest.mark.parametrize(("key", "value"), [("n_upper_blocks", 2), ("l2_sp", 0.1)])
def test_keys_that_have_no_meaning(key: str, value: float) -> None:
    with pytest.raises(ValueError, match=rf"{key} has no meaning for lora"):
        LoraMethod.model_validate({"kind": "lora", key: value})
