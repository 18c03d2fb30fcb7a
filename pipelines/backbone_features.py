"""What a backbone gives for inputs of its preprocessing: the width of its features, asked of the network itself."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pipelines.core.backbones import BackboneSpec
from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.core.modalities.adapters import Preprocess
from pipelines.core.modalities.audio import AudioPreprocess
from pipelines.core.modalities.text import TextPreprocess
from pipelines.core.text_backbone import TransformersSpec, no_text_model

if TYPE_CHECKING:
    from torch import Tensor, nn

_SIZE_STEPS = {
    "image": "correct backbone.preprocess, or give the size to the architecture too (model_args: img_size).",
    "text": "lower backbone.max_tokens in the conf file.",
    "audio": "correct backbone.preprocess in the conf file, or take an architecture that takes small images.",
}


def feature_width(network: nn.Module, spec: BackboneSpec | TransformersSpec, preprocess: Preprocess) -> int:
    """The d of a backbone's features [b, d], by asking it: what architectures say of themselves differs (`num_features`).

    Args:
        network: On any device; its mode is left as it was.
        spec: What it was built from.
        preprocess: Gives the size of the images, or the longest text.

    Raises:
        ConfigurationError: It does not take images of this size, or texts of this length, or its features are no [b, d].
        IntegrityError: Its features are not finite.
    """
    import torch

    features = _features_of_plain_inputs(network, spec, preprocess)
    if not isinstance(features, torch.Tensor) or features.ndim != 2:
        raise _no_features(spec.name, features, preprocess.kind)
    if not bool(features.isfinite().all()):
        raise IntegrityError(
            got=f"weights ({spec.origin}) with which {spec.name} gives features that are not finite for a plain {preprocess.kind}.",
            allowed="finite features.",
            next_step="fetch the file again and compare its sha256 with its author's, or take other weights.",
        )
    return int(features.shape[1])


def refuse_no_text_model(network: nn.Module, name: str) -> None:
    """Refuses an architecture that does not make states of token ids alone, such as one of pictures and texts, by asking it once.

    Raises:
        ConfigurationError: Names it.
    """
    import torch

    was_training = network.training
    try:
        with torch.inference_mode():
            network.eval()(torch.tensor([[0, 1]]).to(next(network.parameters()).device))
    except (RuntimeError, ValueError, AssertionError, TypeError, LookupError, AttributeError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise no_text_model(name, reason) from error
    finally:
        network.train(was_training)


def _features_of_plain_inputs(network: nn.Module, spec: BackboneSpec | TransformersSpec, preprocess: Preprocess) -> Any:
    import torch

    if isinstance(preprocess, TextPreprocess):
        size = f"texts of {preprocess.max_tokens} tokens"
        # Two ids, so that one of them is not the padding's: some models count positions from it, and padding takes none.
        plain = torch.tensor([[0], [1]]).repeat(1, preprocess.max_tokens)
    elif isinstance(preprocess, AudioPreprocess):
        size = f"patches of {preprocess.patch_frames} frames and {preprocess.log_mel.n_mels} bands"
        plain = torch.ones((2, *preprocess.input_shape))
    else:
        size = f"images of {preprocess.height_px} x {preprocess.width_px} px"
        plain = torch.ones((2, *preprocess.input_shape))
    was_training = network.training
    try:
        with torch.inference_mode():
            return network.eval()(plain.to(next(network.parameters()).device))
    except (RuntimeError, ValueError, AssertionError, TypeError, IndexError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
        raise ConfigurationError(
            got=f"{spec.name}, which does not take {size}: {reason}.",
            allowed="a size that this architecture takes.",
            next_step=_SIZE_STEPS[preprocess.kind],
        ) from error
    finally:
        network.train(was_training)


def _no_features(name: str, features: Tensor | object, noun: str = "image") -> ConfigurationError:
    shape = getattr(features, "shape", None)
    given = f"of shape {list(shape)}" if shape is not None else f"that are a {type(features).__name__}"
    return ConfigurationError(
        got=f"{name} with features {given} for 2 {noun}s.",
        allowed=f"one row of features for each {noun}: [b, d].",
        next_step="remove what changes its pooling or outputs from backbone.model_args, or take a classifier of timm.",
    )
