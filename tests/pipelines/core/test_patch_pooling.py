from __future__ import annotations

import timm
import torch

from pipelines.core.patch_pooling import PatchPooling


def network() -> torch.nn.Module:
    torch.manual_seed(0)
    return timm.create_model("resnet10t", pretrained=False, in_chans=1, num_classes=0).eval()


def test_is_the_mean_of_the_patches() -> None:
    alone = network()
    patches = torch.randn(2, 3, 1, 64, 64, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        expected = torch.stack([alone(file).mean(dim=0) for file in patches])
        torch.testing.assert_close(PatchPooling(alone)(patches), expected, rtol=1e-5, atol=1e-5)


def test_patches_of_nan_are_none() -> None:
    patches = torch.randn(1, 2, 1, 64, 64, generator=torch.Generator().manual_seed(2))
    filled = torch.cat([patches, torch.full((1, 2, 1, 64, 64), torch.nan)], dim=1)
    pooled = PatchPooling(network())
    with torch.inference_mode():
        torch.testing.assert_close(pooled(filled), pooled(patches), rtol=1e-5, atol=1e-5)


def test_gradients_are_finite_with_missing_patches() -> None:
    pooled = PatchPooling(network())
    filled = torch.cat([torch.randn(2, 1, 1, 64, 64), torch.full((2, 1, 1, 64, 64), torch.nan)], dim=1)
    pooled(filled).sum().backward()
    assert all(torch.isfinite(parameter.grad).all() for parameter in pooled.parameters())


def test_what_is_no_patch_is_in_no_statistics() -> None:
    """Of a batch norm that is trained: absent patches would count as very loud ones."""
    patches = torch.randn(3, 1, 1, 64, 64, generator=torch.Generator().manual_seed(3))
    filled = torch.cat([patches, torch.full((3, 2, 1, 64, 64), torch.nan)], dim=1)
    alone, padded = PatchPooling(network()).train(), PatchPooling(network()).train()
    torch.testing.assert_close(padded(filled), alone(patches))
    for one, other in zip(padded.buffers(), alone.buffers(), strict=True):
        torch.testing.assert_close(one, other)
