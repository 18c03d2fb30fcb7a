from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from pipelines.core.backbones import BackboneSpec, build_backbone
from pipelines.core.errors import ConfigurationError
from pipelines.training.regularisation import build_with_drop_path, seeded_layers, training_view


def spec(name: str, **model_args: bool | float | str) -> BackboneSpec:
    return BackboneSpec(name=name, in_channels=3, model_args=dict(model_args), origin="untrained", weights_sha256=None)


def rates(network: nn.Module) -> list[float]:
    return [module.drop_prob for module in network.modules() if hasattr(module, "drop_prob")]


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet", "mobilenetv2_100"])
def test_drop_path_rises_to_the_last_block_and_changes_no_name(name: str) -> None:
    plain = spec(name)
    with torch.device("meta"):
        network, without = build_with_drop_path(plain, 0.3), build_with_drop_path(plain, 0.0)
    found = rates(network)
    assert found == sorted(found)
    assert 0.2 < found[-1] <= 0.3 + 1e-6
    assert not any(rates(without))
    assert [(key, value.shape) for key, value in network.state_dict().items()] == [
        (key, value.shape) for key, value in build_backbone(plain).state_dict().items()
    ]
    assert plain == spec(name)


def test_drop_path_drops_while_training_alone() -> None:
    torch.manual_seed(0)
    dropping = build_with_drop_path(spec("test_convnext"), 0.9)
    plain = build_backbone(spec("test_convnext"))
    plain.load_state_dict(dropping.state_dict())
    batch = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.equal(dropping.eval()(batch), plain.eval()(batch))
        outputs = [dropping.train()(batch) for _ in range(5)]
    assert any(not torch.equal(outputs[0], output) for output in outputs[1:])


@pytest.mark.parametrize("name", ["vgg11", "inception_v3", "densenet121"])
def test_an_architecture_without_stochastic_depth(name: str) -> None:
    with torch.device("meta"):
        build_with_drop_path(spec(name), 0.0)
        with pytest.raises(
            ConfigurationError, match=rf"method.drop_path 0.1 for {name}, .*without stochastic depth.*remove method.drop_path"
        ):
            build_with_drop_path(spec(name), 0.1)


def test_an_architecture_that_takes_the_rate_and_does_nothing_with_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(timm, "create_model", lambda *_, **__: nn.Linear(2, 2))
    with pytest.raises(ConfigurationError, match="without stochastic depth"):
        build_with_drop_path(spec("test_resnet"), 0.1)


def test_other_errors_of_the_architecture_stay_as_they_are() -> None:
    with pytest.raises(ConfigurationError, match="the backbone name 'resnet19'"):
        build_with_drop_path(spec("resnet19"), 0.1)
    with pytest.raises(ConfigurationError, match=r"model_args.*unexpected keyword argument 'wrong_argument'"):
        build_with_drop_path(spec("test_resnet", wrong_argument=1), 0.1)


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 2))


def test_dropout_acts_while_training_alone_and_shares_the_weights() -> None:
    shipped = network()
    view = training_view(shipped, 0.5)
    assert list(shipped.state_dict()) == ["1.weight", "1.bias"]
    assert [id(p) for p in view.parameters()] == [id(p) for p in shipped.parameters()]
    batch = torch.ones(4, 16)
    assert torch.equal(view.eval()(batch), shipped(batch))
    assert not torch.equal(view.train()(batch), shipped(batch))
    view(batch).sum().backward()
    assert shipped[1].weight.grad is not None
    assert isinstance(shipped[1], nn.Linear)


def test_dropout_falls_on_the_features_at_its_rate() -> None:
    view = training_view(nn.Sequential(nn.Identity(), nn.Identity()), 0.25).train()
    with seeded_layers(0, "cpu"):
        dropped = view(torch.ones(200, 200))
    assert float((dropped == 0).float().mean()) == pytest.approx(0.25, abs=0.01)
    assert dropped.max().item() == pytest.approx(1 / 0.75)


def test_no_dropout_is_the_network_itself() -> None:
    shipped = network()
    assert training_view(shipped, 0.0) is shipped


def test_what_layers_draw_depends_on_the_seed_alone() -> None:
    view = training_view(network(), 0.5).train()
    batch = torch.ones(4, 16)

    def draw(seed: int) -> torch.Tensor:
        with seeded_layers(seed, "cpu"):
            return view(batch).detach()

    before = torch.get_rng_state()
    first, other = draw(1), draw(2)
    assert torch.equal(before, torch.get_rng_state())
    torch.rand(5)
    assert torch.equal(first, draw(1))
    assert not torch.equal(first, other)
