from __future__ import annotations

from itertools import pairwise

import pytest
import timm
import torch
from timm.models import group_parameters
from timm.scheduler import CosineLRScheduler
from torch import nn

from pipelines.config import FineTuneMethod
from pipelines.core.errors import ConfigurationError
from pipelines.training.optimization import (
    L2_SP_HEAD_STRENGTH,
    build_optimizer,
    l2_sp_penalty,
    open_groups,
    trainable_groups,
    warmup_cosine,
)

ARCHITECTURES = (
    "vgg11_bn",
    "resnet18",
    "inception_v3",
    "efficientnet_b0",
    "mobilenetv2_100",
    "mobilenetv3_small_100",
    "convnext_atto",
    "vit_tiny_patch16_224",
    "swin_tiny_patch4_window7_224",
    "densenet121",
)


def network(name: str = "test_resnet", in_channels: int = 1) -> nn.Sequential:
    torch.manual_seed(0)
    backbone = timm.create_model(name, in_chans=in_channels, num_classes=0)
    return nn.Sequential(backbone, nn.Linear(backbone.num_features, 3))


def recipe(**changes: object) -> FineTuneMethod:
    return FineTuneMethod.model_validate({"kind": "fine_tune"} | changes)


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_all_blocks_hold_every_parameter_once_and_begin_at_the_top(name: str) -> None:
    with torch.device("meta"):
        backbone = timm.create_model(name, num_classes=0)
    groups = trainable_groups(backbone, None)
    assert sorted(id(p) for group in groups for p in group) == sorted(id(p) for p in backbone.parameters())
    timms = group_parameters(backbone, backbone.group_matcher(coarse=True))
    assert len(groups) == len(timms)
    stem = dict(backbone.named_parameters())[timms[0][0]]
    assert any(parameter is stem for parameter in groups[-1])
    for n_blocks in range(len(groups) + 1):
        chosen = trainable_groups(backbone, n_blocks)
        assert [[id(p) for p in group] for group in chosen] == [[id(p) for p in group] for group in groups[:n_blocks]]


def test_more_blocks_than_there_are() -> None:
    with pytest.raises(ConfigurationError, match=r"n_upper_blocks 99\. Allowed: 0 to 5, .*remove it to train all blocks"):
        trainable_groups(network()[0], 99)


@pytest.mark.parametrize("name", ["test_resnet", "test_vit", "test_convnext", "test_efficientnet"])
def test_rates_fall_from_block_to_block(name: str) -> None:
    model = network(name)
    groups = trainable_groups(model[0], None)
    optimizer, _ = build_optimizer(model, groups, recipe(learning_rate=0.1, layer_decay=0.5, warmup_frac=0), n_steps=10)
    rates = {id(p): group["lr"] for group in optimizer.param_groups for p in group["params"]}
    assert len(rates) == len(list(model.parameters()))
    assert {rates[id(p)] for p in model[1].parameters()} == {0.1}
    for depth, group in enumerate(groups, start=1):
        assert all(rates[id(p)] == pytest.approx(0.1 * 0.5**depth) for p in group)


def test_only_the_head_and_the_groups_are_trained() -> None:
    model = network()
    groups = trainable_groups(model[0], 1)
    optimizer, _ = build_optimizer(model, groups, recipe(), n_steps=10)
    wanted = {id(p) for p in [*model[1].parameters(), *groups[0]]}
    assert {id(p) for p in model.parameters() if p.requires_grad} == wanted
    assert {id(p) for group in optimizer.param_groups for p in group["params"]} == wanted


@pytest.mark.parametrize("name", ["test_vit", "test_resnet", "swin_tiny_patch4_window7_224"])
def test_decay_spares_what_timms_own_grouping_spares(name: str) -> None:
    from timm.optim import param_groups_weight_decay

    with torch.device("meta"):
        backbone = timm.create_model(name, num_classes=0)
        model = nn.Sequential(backbone, nn.Linear(backbone.num_features, 3))
    optimizer, _ = build_optimizer(model, trainable_groups(backbone, None), recipe(weight_decay=0.1), n_steps=10)
    decay = {id(p): group["weight_decay"] for group in optimizer.param_groups for p in group["params"]}
    named = [f"0.{own}" for own in backbone.no_weight_decay()] if hasattr(backbone, "no_weight_decay") else []
    expected = {id(p): group["weight_decay"] for group in param_groups_weight_decay(model, 0.1, True, named) for p in group["params"]}
    assert decay == expected
    assert set(decay.values()) == {0.0, 0.1}
    if name == "test_vit":
        assert decay[id(backbone.pos_embed)] == decay[id(backbone.cls_token)] == 0.0


def test_l2_sp_takes_the_place_of_weight_decay() -> None:
    model = network()
    optimizer, _ = build_optimizer(model, trainable_groups(model[0], None), recipe(weight_decay=0.1, l2_sp=0.01), n_steps=10)
    assert {group["weight_decay"] for group in optimizer.param_groups} == {0.0}


def test_the_schedule() -> None:
    rates = [warmup_cosine(step, 10, 100) for step in range(100)]
    assert rates[9] == 1.0
    assert all(a < b for a, b in pairwise(rates[:10]))
    assert all(a >= b for a, b in pairwise(rates[10:]))
    assert 0 < rates[-1] < 0.01
    assert warmup_cosine(100, 10, 100) == warmup_cosine(500, 10, 100) == 0


def test_the_cosine_equals_timms() -> None:
    optimizer = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=0.3)
    theirs = CosineLRScheduler(optimizer, t_initial=90, t_in_epochs=False)
    for step in range(90):
        theirs.step_update(step)
        assert 0.3 * warmup_cosine(10 + step, 10, 100) == pytest.approx(optimizer.param_groups[0]["lr"], abs=1e-12)


@pytest.mark.parametrize(("warmup_frac", "n_steps"), [(0.0, 1), (0.0, 5), (1.0, 5), (0.1, 1)])
def test_the_schedule_of_very_short_trainings(warmup_frac: float, n_steps: int) -> None:
    model = network()
    optimizer, scheduler = build_optimizer(model, [], recipe(warmup_frac=warmup_frac, learning_rate=1.0), n_steps)
    rates = []
    for _ in range(n_steps):
        rates.append(optimizer.param_groups[0]["lr"])
        optimizer.step()
        scheduler.step()
    assert all(0 < rate <= 1 for rate in rates)
    assert max(rates) == 1


def test_frozen_groups_do_not_move_and_opened_ones_do() -> None:
    model = network()
    groups = trainable_groups(model[0], None)
    optimizer, _ = build_optimizer(model, groups, recipe(learning_rate=0.01, warmup_frac=0), n_steps=10)

    def step() -> list[bool]:
        before = [[p.clone() for p in group] for group in groups]
        optimizer.zero_grad()
        model(torch.ones(2, 1, 32, 32)).square().sum().backward()
        optimizer.step()
        return [any(not torch.equal(a, b) for a, b in zip(old, new, strict=True)) for old, new in zip(before, groups, strict=True)]

    for n_open, expected in [(0, [False] * 5), (2, [True] * 2 + [False] * 3), (1, [True] + [False] * 4), (9, [True] * 5)]:
        open_groups(groups, n_open)
        assert step() == expected


def test_l2_sp_equals_a_slow_sum_and_ignores_batch_norm_statistics() -> None:
    model = network()
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    build_optimizer(model, trainable_groups(model[0], None), recipe(), n_steps=1)
    head = sum(float((p.detach().double() ** 2).sum()) for p in model[1].parameters())
    assert l2_sp_penalty(model, start, 0.3).item() == pytest.approx(L2_SP_HEAD_STRENGTH / 2 * head, rel=1e-5)
    model.train()
    model(torch.randn(8, 1, 32, 32, generator=torch.Generator().manual_seed(0)))
    assert l2_sp_penalty(model, start, 0.3).item() == pytest.approx(L2_SP_HEAD_STRENGTH / 2 * head, rel=1e-5)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.01)
    distance = sum(0.01**2 * p.numel() for p in model[0].parameters())
    head = sum(float((p.detach().double() ** 2).sum()) for p in model[1].parameters())
    penalty = l2_sp_penalty(model, start, 0.3, head_strength=0.2)
    assert penalty.item() == pytest.approx(0.15 * distance + 0.1 * head, rel=1e-4)
    penalty.backward()
    parameter = next(model[0].parameters())
    torch.testing.assert_close(parameter.grad, 0.3 * torch.full_like(parameter, 0.01), rtol=1e-3, atol=1e-7)


def test_l2_sp_of_a_frozen_backbone_is_the_head_alone() -> None:
    model = network()
    start = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    build_optimizer(model, [], recipe(), n_steps=1)
    assert l2_sp_penalty(model, start, 1.0, head_strength=0.0).item() == 0
