from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from pipelines.core.backbones import BackboneSpec, build_backbone
from pipelines.core.heads import build_head
from pipelines.core.predict import Predictor
from pipelines.saliency import grad_cam, occlusion, saliency
from tests.pipelines.small_run import small_run


def network(name: str, side_px: int = 96, seed: int = 0) -> tuple[nn.Module, nn.Module, torch.Tensor]:
    """An untrained backbone with a head of 3 labels, in float64, and two images."""
    torch.manual_seed(seed)
    backbone = build_backbone(BackboneSpec(name=name, in_channels=1, origin="none", weights_sha256=None)).double().eval()
    batch = torch.randn(2, 1, side_px, side_px, dtype=torch.float64)
    with torch.no_grad():
        n_features = backbone(batch).shape[1]
    head = build_head(n_features, 3).double().eval()
    for module in (backbone, head):
        module.requires_grad_(False)
    return backbone, head, batch


@pytest.fixture(scope="module")
def bundle_of_digits(tmp_path_factory: pytest.TempPathFactory, tiny_weights: Path, digits_folder: Path) -> Path:
    return small_run(tmp_path_factory.mktemp("run"), tiny_weights, digits_folder).bundle


PLACES = torch.tensor([2, 0])


@pytest.mark.parametrize("name", ["test_resnet", "test_efficientnet", "test_convnext", "mobilenetv3_small_050"])
def test_it_is_grad_cam_where_the_map_is_averaged(name: str) -> None:
    """Against the paper's formula, its gradients taken numerically on the map itself."""
    backbone, head, batch = network(name, 128)
    found = grad_cam(backbone, head, batch, PLACES)
    assert found is not None
    with torch.no_grad():
        maps = backbone.forward_features(batch)
        for image in range(2):
            # Each channel moved up and down at all of its places at once: the sum of its gradients.
            steps = 1e-4 * torch.eye(maps.shape[1], dtype=torch.float64)[:, :, None, None]
            moved = torch.cat([maps[image] + steps, maps[image] - steps])
            up, down = head(backbone.forward_head(moved))[:, PLACES[image]].chunk(2)
            weights = (up - down) / 2e-4 / maps[0, 0].numel()
            expected = (weights[:, None, None] * maps[image]).sum(dim=0).clamp_min(0)
            np.testing.assert_allclose(found[image], expected.numpy(), rtol=1e-3, atol=1e-6 + 1e-4 * float(expected.max()))


class OneCorner(nn.Module):
    """Sees 8 x 8 patches, and of them nothing but the one at the top left."""

    num_features = 4

    def __init__(self) -> None:
        super().__init__()
        self.patches = nn.Conv2d(1, 4, 8, stride=8, bias=False)
        nn.init.constant_(self.patches.weight, 1 / 64)

    def forward_features(self, batch: torch.Tensor) -> torch.Tensor:
        return self.patches(batch)

    def forward_head(self, feature_map: torch.Tensor) -> torch.Tensor:
        return feature_map[:, :, 0, 0]

    def forward(self, batch: torch.Tensor) -> torch.Tensor:
        return self.forward_head(self.forward_features(batch))


@pytest.mark.parametrize("method", [grad_cam, occlusion])
def test_a_network_that_looks_at_one_corner_is_seen_to(method: object) -> None:
    head = build_head(4, 2)
    nn.init.constant_(head.weight, 1.0)
    for module in (backbone := OneCorner(), head):
        module.requires_grad_(False)
    maps = method(backbone, head, torch.ones(3, 1, 64, 64), torch.tensor([0, 1, 0]))  # type: ignore[operator]
    assert maps.shape == (3, 8, 8)
    assert (maps[:, 0, 0] > 0).all()
    maps[:, 0, 0] = 0
    assert np.abs(maps).max() < 1e-6


def test_occlusion_is_what_the_logit_loses() -> None:
    backbone, head, batch = network("test_resnet", 32)
    found = occlusion(backbone, head, batch, PLACES)
    for image, row, column in ((0, 0, 0), (1, 3, 5), (0, 7, 7)):
        covered = batch[image : image + 1].clone()
        covered[:, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4] = 0
        logits = [head(backbone(one))[0, PLACES[image]].item() for one in (batch[image : image + 1], covered)]
        assert found[image, row, column] == pytest.approx(max(0.0, logits[0] - logits[1]), abs=1e-5)


@pytest.mark.parametrize(("name", "side_px"), [("test_vit", 160), ("test_resnet", 32)])
def test_there_is_no_grad_cam_without_a_map_that_shows_places(name: str, side_px: int) -> None:
    backbone, head, batch = network(name, side_px)
    assert grad_cam(backbone, head, batch, PLACES) is None


def test_halves_that_are_not_the_whole_are_not_trusted() -> None:
    backbone, head, batch = network("test_resnet", 128)

    class Other(nn.Module):
        num_features, feature_info = backbone.num_features, []
        forward_features, forward_head = staticmethod(backbone.forward_features), staticmethod(backbone.forward_head)

        def forward(self, batch: torch.Tensor) -> torch.Tensor:
            return backbone(batch) + 1

    assert grad_cam(backbone, head, batch, PLACES) is not None
    assert grad_cam(Other(), head, batch, PLACES) is None


def test_a_bundle_is_asked_with_the_raw_file(bundle_of_digits: Path) -> None:
    predictor = Predictor.load(bundle_of_digits)
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30), dtype=np.uint8)).save(file, "PNG")
    found = saliency(predictor, [file.getvalue()] * 2, [0, 1])
    assert found.method == "occlusion"  # 32 px give the tiny network one place
    assert found.maps.shape == (2, 8, 8)
    assert found.maps.max(axis=(1, 2)).tolist() == [1, 1]
    assert not next(predictor.network[0].parameters()).requires_grad
