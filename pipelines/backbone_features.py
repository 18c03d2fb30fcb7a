"""What a backbone gives for images of its preprocessing: the width of its features, asked of the network itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.core.backbones import BackboneSpec
from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.core.preprocess import ImagePreprocess

if TYPE_CHECKING:
    from torch import Tensor, nn


def feature_width(network: nn.Module, spec: BackboneSpec, preprocess: ImagePreprocess) -> int:
    """The d of a backbone's features [b, d], by asking it: what architectures say of themselves differs (`num_features`).

    Args:
        network: On any device; its mode is left as it was.
        spec: What it was built from.
        preprocess: Gives the size of the images.

    Raises:
        ConfigurationError: It does not take images of this size, or its features are no [b, d].
        IntegrityError: Its features are not finite.
    """
    import torch

    features = _features_of_plain_images(network, spec, preprocess)
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        raise _no_features(spec.name, features)
    if not bool(features.isfinite().all()):
        raise IntegrityError(
            got=f"weights ({spec.origin}) with which {spec.name} gives features that are not finite for a plain image.",
            allowed="finite features.",
            next_step="fetch the file again and compare its sha256 with its author's, or take other weights.",
        )
    return int(features.shape[1])


def _features_of_plain_images(network: nn.Module, spec: BackboneSpec, preprocess: ImagePreprocess) -> Any:
    import torch

    shape = (2, preprocess.n_channels, preprocess.height_px, preprocess.width_px)
    was_training = network.training
    try:
        with torch.inference_mode():
            return network.eval()(torch.ones(shape, device=next(network.parameters()).device))
    except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ConfigurationError(
            got=f"{spec.name}, which does not take images of {preprocess.height_px} x {preprocess.width_px} px: {reason}.",
            allowed="a size that this architecture takes.",
            next_step="correct backbone.preprocess, or give the size to the architecture too (model_args: img_size).",
        ) from error
    finally:
        network.train(was_training)


def _no_features(name: str, features: Tensor | object) -> ConfigurationError:
    shape = getattr(features, "shape", None)
    given = f"of shape {list(shape)}" if shape is not None else f"that are a {type(features).__name__}"
    return ConfigurationError(
        got=f"{name} with features {given} for 2 images.",
        allowed="one row of features for each image: [b, d].",
        next_step="remove what changes its pooling or outputs from backbone.model_args, or take a classifier of timm.",
    )
