from __future__ import annotations

import logging
from collections import namedtuple
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from pipelines.core.backbones import BackboneSpec
from pipelines.core.preprocess import ImagePreprocess
from pipelines.progress import silent
from pipelines.selected_backbone import SelectedBackbone
from pipelines.training.boundary import SplitBackbone, cached_boundary, split_backbone
from pipelines.training.embedding import embed
from pipelines.training.optimization import trainable_groups
from tests.pipelines.training.photos import COLOUR, photos

SMALL = [
    ("test_resnet", 32),
    ("test_efficientnet", 32),
    ("test_convnext", 32),
    ("test_vit", 64),
    ("test_nfnet", 32),
    ("test_byobnet", 32),
]
REAL = [
    ("resnet10t", 32),
    ("resnet18", 32),
    ("mobilenetv2_100", 32),
    ("efficientnet_b0", 32),
    ("convnext_atto", 32),
    ("vit_tiny_patch16_224", 64),
    ("vgg11", 32),
    ("inception_v3", 96),
    ("densenet121", 32),
    ("swin_tiny_patch4_window7_224", 224),
]
CONFIG: Any = SimpleNamespace(compute=SimpleNamespace(n_workers=1))


def network(name: str, size_px: int, **arguments: Any) -> nn.Module:
    import timm

    torch.manual_seed(0)
    if "vit" in name:
        arguments["img_size"] = size_px
    return timm.create_model(name, pretrained=False, num_classes=0, **arguments)


def images(size_px: int, n: int = 2) -> torch.Tensor:
    return torch.randn(n, 3, size_px, size_px, generator=torch.Generator().manual_seed(1))


def split(backbone: nn.Module, n_upper_blocks: int, size_px: int = 32) -> SplitBackbone:
    halves = split_backbone(backbone, n_upper_blocks, images(size_px))
    assert halves is not None
    return halves


def check_cuts(name: str, size_px: int, step: int) -> None:
    backbone = network(name, size_px)
    n_blocks = len(trainable_groups(backbone, None))
    assert n_blocks > 3
    batch = images(size_px, 3)
    for n_upper_blocks in range(1, n_blocks, step):
        halves = split(backbone, n_upper_blocks, size_px)
        trained = {id(parameter) for group in trainable_groups(backbone, n_upper_blocks) for parameter in group}
        assert trained <= {id(parameter) for parameter in halves.upper.parameters()}
        assert not trained & {id(parameter) for parameter in halves.lower.parameters()}
        backbone.eval()
        with torch.inference_mode():
            activation = halves.lower(batch)
            assert activation.shape == (3, *halves.activation_shape)
            assert torch.equal(halves.upper(activation), backbone(batch))
        backbone.train()
    assert split_backbone(backbone, n_blocks, batch) is None


@pytest.mark.parametrize(("name", "size_px"), SMALL)
def test_the_halves_are_the_whole_at_every_cut(name: str, size_px: int) -> None:
    check_cuts(name, size_px, step=1)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "size_px"), REAL)
def test_the_halves_of_real_architectures_are_the_whole(name: str, size_px: int) -> None:
    check_cuts(name, size_px, step=3)


def test_training_the_upper_half_trains_the_backbone_as_training_the_whole_does() -> None:
    whole, cut = network("test_resnet", 32), network("test_resnet", 32)
    halves, batch = split(cut, 2), images(32, 4)
    trained = []
    for backbone, features in ((whole, lambda: whole(batch)), (cut, lambda: halves.upper(halves.lower(batch).detach()))):
        backbone.eval()
        parameters = [parameter for group in trainable_groups(backbone, 2) for parameter in group]
        optimizer = torch.optim.SGD(parameters, lr=0.1)
        for _ in range(3):
            optimizer.zero_grad()
            features().square().mean().backward()
            optimizer.step()
        trained.append(backbone.state_dict())
    assert not torch.equal(trained[1]["layer4.0.conv1.weight"], network("test_resnet", 32).state_dict()["layer4.0.conv1.weight"])
    assert all(torch.equal(trained[0][key], trained[1][key]) for key in trained[0])


def test_names_of_parameters_are_the_backbones() -> None:
    backbone = network("test_resnet", 32)
    halves = split(backbone, 2)
    own = dict(backbone.named_parameters())
    for name, parameter in (*halves.upper.named_parameters(), *halves.lower.named_parameters()):
        assert own[name] is parameter


@pytest.mark.parametrize("name", ["test_resnet", "test_convnext"])
def test_modes_mean_in_the_halves_what_they_mean_in_the_backbone(name: str) -> None:
    """A trace keeps the mode in which it was made; ours must not."""
    for made_in in (True, False):
        backbone = network(name, 32, drop_path_rate=0.5).train(made_in)
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm2d):
                nn.init.ones_(module.weight)  # blocks begin as nothing, of which nothing can be dropped
        halves, batch = split(backbone, 2), images(32, 4)
        assert all(module.training == made_in for module in backbone.modules())
        halves.upper.train(), halves.lower.eval()
        activation = halves.lower(batch).detach()
        draws = [halves.upper(activation).detach() for _ in range(6)]
        assert any(not torch.equal(draws[0], draw) for draw in draws[1:])
        halves.upper.eval()
        assert torch.equal(halves.upper(activation), halves.upper(activation))


def test_batch_norm_is_live_where_it_is_in_training_mode_and_frozen_where_not() -> None:
    backbone = network("test_resnet", 32)
    halves, batch = split(backbone, 1), images(32, 4)
    activation = halves.lower.eval()(batch).detach()
    mean = backbone.state_dict()["layer4.0.bn1.running_mean"].clone()
    halves.upper.eval()(activation)
    assert torch.equal(backbone.state_dict()["layer4.0.bn1.running_mean"], mean)
    halves.upper.train()(activation)
    assert not torch.equal(backbone.state_dict()["layer4.0.bn1.running_mean"], mean)


def test_what_would_change_in_training_is_told() -> None:
    resnet, convnext = split(network("test_resnet", 32), 1), split(network("test_convnext", 32), 1)
    assert (resnet.lower_has_randomness, convnext.lower_has_randomness) == (False, False)
    assert split(network("test_convnext", 32, drop_path_rate=0.2), 1).lower_has_randomness


class Blocks(nn.Module):
    """A classifier of our own in timm's manner."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.block1, self.block2 = nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 1), nn.Conv2d(4, 4, 1)

    def group_matcher(self, coarse: bool = False) -> dict[str, Any]:
        return {"stem": r"^stem", "blocks": [(r"^block(\d+)", None)]}

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block2(self.block1(self.stem(x))).mean((2, 3))


class Branches(Blocks):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.block2(self.block1(self.stem(x)) + self.stem(-x)).mean((2, 3))


class Decides(Blocks):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return super().forward(x if x.sum() > 0 else -x)


class Drops(Blocks):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return functional.dropout(super().forward(x), 0.5, training=self.training)


class Repeats(Blocks):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        stem = self.stem(x)
        return self.block2(self.block1(self.block2(stem)) + stem).mean((2, 3))


class Counts(Blocks):
    """Gives the halves something else than the whole: a trace counts once."""

    n_calls = 0

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.n_calls += 1
        return super().forward(x) * self.n_calls


def test_the_cut_moves_down_to_where_one_tensor_holds_everything() -> None:
    halves = split(Branches(), 1)
    assert halves.activation_shape == (4, 30, 30)  # the sum of both branches
    assert split_backbone(Branches(), 2, images(32)) is None  # one branch goes through block1, the other past it, from the input on
    halves = split(Repeats(), 2)
    assert halves.activation_shape == (4, 30, 30)


@pytest.mark.parametrize("kind", [Decides, Drops, Counts])
def test_what_cannot_be_cut_exactly_is_not_cut(kind: type[Blocks]) -> None:
    assert split_backbone(Blocks(), 1, images(32)) is not None
    assert split_backbone(kind(), 1, images(32)) is None


@pytest.mark.parametrize("n_upper_blocks", [0, 4, 99])
def test_where_there_is_nothing_below_or_above_there_is_no_cut(n_upper_blocks: int) -> None:
    assert split_backbone(Blocks(), n_upper_blocks, images(32)) is None


def selected(preprocess: ImagePreprocess = COLOUR) -> SelectedBackbone:
    spec = BackboneSpec(name="test_resnet", in_channels=3, origin="test", weights_sha256="0" * 64)
    return SelectedBackbone(spec=spec, preprocess=preprocess)


def counted(halves: SplitBackbone) -> list[int]:
    batches: list[int] = []
    halves.lower.register_forward_pre_hook(lambda _, inputs: batches.append(len(inputs[0])))
    return batches


def test_activations_are_kept_and_lead_to_the_same_features(tmp_path: Path) -> None:
    inputs, store = photos(tmp_path, range(40)), tmp_path / "features"
    backbone = network("test_resnet", 32)
    expected = embed(backbone, inputs)
    for n_batches in (2, 0):
        halves = split(backbone, 2)
        batches = counted(halves)
        activations = cached_boundary(halves, inputs, selected(), CONFIG, store, silent)
        assert activations is not None
        assert len(batches) == n_batches
        assert activations.batch([3, 1]).shape == (2, *halves.activation_shape)
        assert len(activations) == 40
        assert activations.targets is inputs.targets
        assert activations.samples is inputs.samples
        assert np.array_equal(embed(halves.upper, activations), expected)


def test_other_cuts_and_other_weights_have_other_activations(tmp_path: Path) -> None:
    inputs, store = photos(tmp_path, range(3)), tmp_path / "features"
    backbone = network("test_resnet", 32)
    assert cached_boundary(split(backbone, 2), inputs, selected(), CONFIG, store, silent) is not None
    with torch.no_grad():
        backbone.get_parameter("layer4.0.conv1.weight").mul_(2)  # above the cut: no matter
    for n_upper_blocks, lower_changes, n_batches in ((2, False, 0), (3, False, 1), (2, True, 1)):
        if lower_changes:
            with torch.no_grad():
                backbone.get_parameter("layer1.0.conv1.weight").mul_(2)
        halves = split(backbone, n_upper_blocks)
        batches = counted(halves)
        cached_boundary(halves, inputs, selected(), CONFIG, store, silent)
        assert len(batches) == n_batches


def test_what_would_fill_the_disk_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage(0, 0, 1_000))
    halves = split(network("test_resnet", 32), 2)
    with caplog.at_level(logging.WARNING):
        assert cached_boundary(halves, photos(tmp_path, range(3)), selected(), CONFIG, tmp_path / "features", silent) is None
    assert "activations would take 0.0 of 0.0 GB that are free" in caplog.text
    assert not (tmp_path / "features").exists()


def test_a_disk_that_is_full_all_the_same_is_said_aloud(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def full(_: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    halves = split(network("test_resnet", 32), 2)
    with caplog.at_level(logging.WARNING):
        assert cached_boundary(halves, photos(tmp_path, range(3)), selected(), CONFIG, tmp_path / "features", silent) is None
    assert "cannot be kept (No space left on device)" in caplog.text


@pytest.mark.parametrize(("failing", "n_batches"), [("pipelines.training.feature_store.exclusive", 0), ("os.fsync", 1)])
def test_what_cannot_be_kept_is_not_computed_any_further(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failing: str, n_batches: int
) -> None:
    def fails(_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr(failing, fails)
    monkeypatch.setattr("pipelines.training.kept_rows._BATCHES_PER_WRITE", 1)
    halves = split(network("test_resnet", 32), 2)
    batches = counted(halves)
    assert cached_boundary(halves, photos(tmp_path, range(70)), selected(), CONFIG, tmp_path / "features", silent) is None
    assert len(batches) == n_batches
