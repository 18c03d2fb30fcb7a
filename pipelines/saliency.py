"""Which parts of an image spoke for a label: through the sealed bundle's own network.

Letters for shapes: b images, c channels, h height, w width, k labels, m and p rows and columns of a map.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from pipelines.core.modalities.adapters import image_spec
from pipelines.core.predict import Predictor
from pipelines.core.preprocess import preprocess

if TYPE_CHECKING:
    from collections.abc import Sequence

    import torch
    from torch import nn

SaliencyMethod = Literal["grad_cam", "occlusion"]
# Below this a map shows no place.
_LEAST_SIDE = 3
_OCCLUSION_CELLS = 8
_BATCH_SIZE = 64


@dataclass(frozen=True, eq=False)
class Saliency:
    """Maps of b images.

    Attributes:
        maps: float32 [b, m, p] in [0, 1], the largest of each image 1; all 0 where nothing spoke for the label.
        method: How they were made.
    """

    maps: NDArray[np.float32]
    method: SaliencyMethod


def saliency(predictor: Predictor, images: Sequence[bytes], places: Sequence[int]) -> Saliency:
    """Grad-CAM where the network has a last feature map of at least 3 x 3 places, else occlusion.

    Args:
        predictor: The bundle; its own preprocessing reads the images.
        images: b image files.
        places: Of the label that is asked about, for each image, in the bundle's order.

    Raises:
        DataError: An image does not decode.
    """
    import torch

    batch = torch.from_numpy(preprocess(images, image_spec(predictor.manifest.preprocess)))
    backbone, head = predictor.network
    asked = torch.tensor(places)
    maps = grad_cam(backbone, head, batch, asked)
    if maps is not None:
        return Saliency(_scaled(maps), "grad_cam")
    return Saliency(_scaled(occlusion(backbone, head, batch, asked)), "occlusion")


def grad_cam(backbone: nn.Module, head: nn.Module, batch: torch.Tensor, places: torch.Tensor) -> NDArray[np.float32] | None:
    """Grad-CAM (Selvaraju et al. 2017, https://arxiv.org/abs/1610.02391) on the backbone's last feature map.

    The gradient weighs the map place by place (HiResCAM, Draelos and Carin 2020, https://arxiv.org/abs/2011.08891) instead of by its mean:
    where a network averages the map before anything else, as nearly all CNNs do, both are the same; where it does not, the mean can
    point to places that the network does not look at.

    Args:
        backbone: With timm's `forward_features` and `forward_head`.
        head: Features to logits.
        batch: [b, c, h, w].
        places: int64 [b], of a label each.

    Returns:
        float32 [b, m, p], at least 0; nothing where the network has no such map, as a vision transformer has none.
    """
    import torch

    halves: Any = backbone  # timm's, which torch's types do not know
    with torch.no_grad():
        feature_map = halves.forward_features(batch)
    is_last = _is_channels_last(feature_map, _n_channels(halves))
    if is_last is None:
        return None
    with torch.enable_grad():
        feature_map = feature_map.detach().clone().requires_grad_(True)
        logits = head(halves.forward_head(feature_map))
        (gradient,) = torch.autograd.grad(logits.gather(1, places[:, None]).sum(), feature_map)
    with torch.no_grad():
        if not torch.allclose(logits, head(backbone(batch)), rtol=1e-3, atol=1e-3):
            return None  # the two halves are not what the network does as a whole
        maps = (gradient * feature_map).sum(dim=3 if is_last else 1).clamp_min(0)
    return np.asarray(maps.float().numpy())


def _n_channels(halves: Any) -> set[int]:
    # A VGG's features are wider than its last map, which its list of maps tells.
    listed = getattr(halves, "feature_info", None) or []
    return {int(halves.num_features), *(int(stage["num_chs"]) for stage in listed[-1:] if isinstance(stage, dict))}


def _is_channels_last(feature_map: torch.Tensor, n_channels: set[int]) -> bool | None:
    """Where the channels of a map are; nothing where it is no map of at least 3 x 3 places."""
    if feature_map.ndim != 4:
        return None
    shape = tuple(feature_map.shape)
    for is_last, channels, sides in ((False, shape[1], shape[2:]), (True, shape[3], shape[1:3])):
        if channels in n_channels and min(sides) >= _LEAST_SIDE:
            return is_last
    return None


def occlusion(backbone: nn.Module, head: nn.Module, batch: torch.Tensor, places: torch.Tensor) -> NDArray[np.float32]:
    """How far the label's logit falls when a cell of an 8 x 8 grid is covered with the mean colour.

    Zeiler and Fergus 2014, https://arxiv.org/abs/1311.2901. Needs nothing of the network but its answers: for vision transformers and
    networks whose last map is too small. Costs 64 forward passes an image.

    Returns:
        float32 [b, m, p], at least 0.
    """
    import torch

    height, width = batch.shape[2:]
    n_rows, n_columns = min(_OCCLUSION_CELLS, height), min(_OCCLUSION_CELLS, width)
    maps = np.zeros((len(batch), n_rows, n_columns), np.float32)
    with torch.inference_mode():
        whole = head(backbone(batch)).gather(1, places[:, None])[:, 0]
        for image in range(len(batch)):
            covered = batch[image].repeat(n_rows * n_columns, 1, 1, 1)
            for cell in range(n_rows * n_columns):
                row, column = divmod(cell, n_columns)
                rows = slice(row * height // n_rows, (row + 1) * height // n_rows)
                columns = slice(column * width // n_columns, (column + 1) * width // n_columns)
                covered[cell, :, rows, columns] = 0  # of normalised values the mean
            logits = torch.cat([head(backbone(part)) for part in torch.split(covered, _BATCH_SIZE)])[:, int(places[image])]
            maps[image] = (whole[image] - logits).clamp_min(0).reshape(n_rows, n_columns).numpy()
    return maps


def _scaled(maps: NDArray[np.float32]) -> NDArray[np.float32]:
    largest = maps.max(axis=(1, 2), keepdims=True)
    return np.asarray(np.divide(maps, largest, out=np.zeros_like(maps), where=largest > 0))
