"""Weights that fit and are wrong: a strict load proves nothing, so a few labelled images are asked.

    normalisation     first batch-norm layers: do the statistics that they stored in training fit the stated mean and std, or others better?
    channel order     the same, for red and blue exchanged
    layers            every later batch-norm layer: a damaged or foreign layer is off by orders of magnitude
    padding           a network trained on flipped images hardly minds a flip, unless it is padded as it was not trained
    knowledge         labels follow from the features better than from those of the same architecture untrained
    preprocessing     for networks without batch norm: labels lie nearer together under another mean and std

The images of a project are not the ones that the weights were trained on, and those may be digits or X-rays. So another setting is
named only where the images fit it well, not merely better; the thresholds below stand between right and wrong settings, which
tests/pipelines/test_weights_sanity.py tries on real weights. It warns and refuses nothing, but for features that are not finite.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pipelines.backbones import load_backbone
from pipelines.config import ShippedBackbone, SingleBackbone
from pipelines.core.backbones import BackboneSpec, build_backbone
from pipelines.core.errors import ConfigurationError, IntegrityError
from pipelines.core.modalities.adapters import image_spec
from pipelines.core.preprocess import ImagePreprocess
from pipelines.feature_geometry import features_of, minds_flips, nearness, share_a_label, standard_errors
from pipelines.layer_statistics import NO_STATISTICS, LayerFit, layer_fits
from pipelines.selected_backbone import SelectedBackbone
from pipelines.training.inputs import SampleInputs
from pipelines.training.ranking import log_me
from pipelines.weights_findings import Check, Comparison, SanityFinding, WeightsSanity

if TYPE_CHECKING:
    from torch import Tensor, nn

MAX_IMAGES = 64
# The first layers see a linear function of the pixels. Median KL of their channels: far below 1 where the settings are right.
_N_FIRST_LAYERS = 2
_FITS = 0.2
_LOG_GAIN = 0.7
# Exchanged colours change few channels, and little. A strong blue tint fits neither way.
_N_LAYERS_OF_ORDER = 4
_FITS_ORDER = 0.1
_LOG_GAIN_ORDER = 0.08
# Right settings stay below 1; with one block shuffled a layer is far above it.
_FOREIGN_LAYER = 2.5
# Standard errors, paired over images.
_SURE = 4.0
# Log evidence of all labels (LogME) above that of an untrained network.
_KNOWS = 10.0
MIN_IMAGES = 16
# Fewer where the difference is large, since each costs a forward pass.
_N_FOR_LAYERS = 32
_N_FOR_PADDING = 40
_NORMALISATIONS: dict[str, tuple[tuple[float, ...], tuple[float, ...]]] = {
    "mean and std 0.5": ((0.5,) * 3, (0.5,) * 3),
    "ImageNet's mean and std": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
    "values in [0, 1] (mean 0, std 1)": ((0.0,) * 3, (1.0,) * 3),
    "values in [0, 255] (mean 0, std 1/255)": ((0.0,) * 3, (1 / 255,) * 3),
}
_EXCHANGED = "red and blue exchanged"
_NEXT_STEPS: dict[Check, str] = {
    "normalisation": "compare mean and std of backbone.preprocess with what the weights' author states.",
    "channel order": "ask the weights' author whether they were trained on BGR; bluish images may look so too.",
    "layers": "compare the file's sha256 with its author's: a layer may be damaged, or of another training.",
    "knowledge": "check that the file holds trained weights, and its preprocessing; or these images are too far from what it knows.",
    "preprocessing": "compare mean, std and channel order of backbone.preprocess with what the weights' author states.",
}


def check_weights(config: SingleBackbone, selected: SelectedBackbone, inputs: SampleInputs, device: str = "cpu") -> WeightsSanity:
    """Compares the stated preprocessing and padding with plausible others on at most 64 labelled images.

    Costs some hundred forward passes of one image. Same input, same findings. The backbones that ship with the
    project are made with their own preprocessing and are not asked.

    Args:
        config: The backbone's entry in the conf file.
        selected: What stage `select` made of it: what is stated.
        inputs: Training samples.
        device: Where it runs.

    Raises:
        IntegrityError: Features are not finite.
    """
    chosen = _chosen(inputs.targets)
    if isinstance(config, ShippedBackbone) or len(chosen) < MIN_IMAGES:
        return WeightsSanity(0, (), ())
    import torch

    images = torch.from_numpy(inputs.batch(chosen)).to(device)
    alike = share_a_label(inputs.targets[chosen])
    network = load_backbone(config, selected).to(device).eval()
    features = _finite_features(network, images, inputs, chosen)
    parts = [
        _of_input(network, features, images, alike, image_spec(selected.preprocess)),
        _of_padding(network, features, images, config, selected),
        _of_knowledge(features, images, inputs.targets[chosen], _timm_spec(selected)),
    ]
    comparisons = tuple(row for part in parts for row in part.comparisons)
    return WeightsSanity(len(chosen), comparisons, tuple(finding for part in parts for finding in part.findings))


def _chosen(targets: NDArray[Any]) -> NDArray[np.int64]:
    # The same number of each label as far as they go; samples come ordered by the hash of their content, so the first are any.
    keys = [row.tobytes() for row in np.ascontiguousarray(targets)]
    seen: dict[bytes, int] = {}
    turns = []
    for key in keys:
        seen[key] = seen.get(key, -1) + 1
        turns.append(seen[key])
    return np.sort(np.argsort(turns, kind="stable")[:MAX_IMAGES])


def _finite_features(network: nn.Module, images: Tensor, inputs: SampleInputs, chosen: NDArray[np.int64]) -> NDArray[np.float64]:
    features = features_of(network, images)
    bad = np.flatnonzero(~np.isfinite(features).all(axis=1))
    if bad.size:
        paths = ", ".join(inputs.samples[int(chosen[row])].path for row in bad[:3])
        raise IntegrityError(
            got=f"features that are not finite for {len(bad)} of {len(chosen)} training images, for example {paths}.",
            allowed="a backbone whose features are finite for the project's images.",
            next_step="check mean and std in backbone.preprocess, or take other weights.",
        )
    return features


def _of_input(
    network: nn.Module, features: NDArray[np.float64], images: Tensor, alike: NDArray[np.bool_], preprocess: ImagePreprocess
) -> WeightsSanity:
    fits = layer_fits(network, images, max(_N_FIRST_LAYERS, _N_LAYERS_OF_ORDER))
    if not fits:
        return _by_labels(network, features, images, alike, preprocess)
    rows = tuple(_against_stated(name, fits, network, changed) for name, changed in _other_inputs(images, preprocess))
    better = {row.check: row for row in sorted(rows, key=lambda row: row.evidence) if _fits_better(row)}
    findings = tuple(_other_input(row, fits[0].misfit) for row in better.values())
    # A wrong scale throws every layer off.
    return WeightsSanity(len(images), rows, findings if "normalisation" in better else findings + _foreign_layers(network, images))


def _against_stated(name: str, stated: list[LayerFit], network: nn.Module, changed: Tensor) -> Comparison:
    of_order = name == _EXCHANGED
    others = layer_fits(network, changed, _N_LAYERS_OF_ORDER if of_order else _N_FIRST_LAYERS)
    pairs = list(zip(stated, others, strict=False))
    if of_order:
        return Comparison("channel order", name, _log_gain([(s.mean_misfit, o.mean_misfit) for s, o in pairs]), others[0].misfit)
    return Comparison("normalisation", name, _log_gain([(s.misfit, o.misfit) for s, o in pairs]), others[0].misfit)


def _log_gain(pairs: list[tuple[float, float]]) -> float:
    return float(np.mean([math.log(max(stated, 1e-9) / max(other, 1e-9)) for stated, other in pairs]))


def _fits_better(row: Comparison) -> bool:
    of_order = row.check == "channel order"
    fits, gain = (_FITS_ORDER, _LOG_GAIN_ORDER) if of_order else (_FITS, _LOG_GAIN)
    return row.misfit is not None and row.misfit < fits and row.evidence > gain


def _other_input(best: Comparison, stated_misfit: float) -> SanityFinding:
    ratio = f"{math.exp(min(best.evidence, 99.0)):.3g} times"
    first = f"first layer: misfit {best.misfit:.2g} against {stated_misfit:.2g}"
    got = f"training images fit the first layers' stored statistics {ratio} better with {best.alternative} than as stated ({first})."
    return SanityFinding(best.check, got, _NEXT_STEPS[best.check])


def _foreign_layers(network: nn.Module, images: Tensor) -> tuple[SanityFinding, ...]:
    fits = layer_fits(network, images[:_N_FOR_LAYERS])
    later = [fit for number, fit in enumerate(fits) if number >= _N_FIRST_LAYERS or fit.misfit == NO_STATISTICS]
    off = [fit for fit in later if fit.misfit >= _FOREIGN_LAYER]
    if not off:
        return ()
    first = f"the first {off[0].name} (misfit {off[0].misfit:.3g})"
    got = f"{len(off)} of {len(later)} layers are far from the statistics that they stored, {first}."
    return (SanityFinding("layers", got, _NEXT_STEPS["layers"]),)


def _other_inputs(images: Tensor, preprocess: ImagePreprocess) -> Iterator[tuple[str, Tensor]]:
    import torch

    def per_channel(values: tuple[float, ...]) -> Tensor:
        usable = values if len(values) == preprocess.n_channels else (sum(values) / len(values),)
        return torch.tensor(usable, device=images.device).reshape(1, -1, 1, 1)

    raw = images * per_channel(preprocess.std) + per_channel(preprocess.mean)
    for name, (mean, std) in _NORMALISATIONS.items():
        changed = (raw - per_channel(mean)) / per_channel(std)
        if not torch.allclose(changed, images, rtol=1e-2, atol=1e-2):
            yield name, changed
    if preprocess.n_channels == 3:
        yield _EXCHANGED, (raw.flip(1) - per_channel(preprocess.mean)) / per_channel(preprocess.std)


def _by_labels(
    network: nn.Module, features: NDArray[np.float64], images: Tensor, alike: NDArray[np.bool_], preprocess: ImagePreprocess
) -> WeightsSanity:
    stated = nearness(features, alike)
    rows = tuple(
        Comparison("preprocessing", name, standard_errors(nearness(features_of(network, changed), alike) - stated))
        for name, changed in _other_inputs(images, preprocess)
    )
    best = max(rows, key=lambda row: row.evidence)
    if best.evidence < _SURE:
        return WeightsSanity(len(images), rows, ())
    got = f"images of one label lie nearer together with {best.alternative} than as stated, by {best.evidence:.1f} standard errors."
    return WeightsSanity(len(images), rows, (SanityFinding("preprocessing", got, _NEXT_STEPS["preprocessing"]),))


def _timm_spec(selected: SelectedBackbone) -> BackboneSpec:
    if not isinstance(selected.spec, BackboneSpec):
        raise TypeError(f"weights of kind {selected.spec.kind} are not checked")
    return selected.spec


def _of_padding(
    network: nn.Module, features: NDArray[np.float64], images: Tensor, config: SingleBackbone, selected: SelectedBackbone
) -> WeightsSanity:
    stated = "same" if _pads_same(network) else ""
    other = "" if stated else "same"
    spec = _timm_spec(selected)
    arguments = spec.model_args | {"pad_type": other}
    try:
        changed = load_backbone(config, selected.model_copy(update={"spec": spec.model_copy(update={"model_args": arguments})}))
    except ConfigurationError:  # an architecture without this choice
        return WeightsSanity(len(images), (), ())
    if _pads_same(changed) == _pads_same(network):
        return WeightsSanity(len(images), (), ())
    changed = changed.to(images.device).eval()
    images, features = images[:_N_FOR_PADDING], features[:_N_FOR_PADDING]
    gain = minds_flips(features, features_of(network, images.flip(3))) - minds_flips(
        features_of(changed, images), features_of(changed, images.flip(3))
    )
    evidence = standard_errors(gain)
    row = Comparison("padding", f"pad_type {other!r}", evidence)
    if evidence < _SURE:
        return WeightsSanity(len(images), (row,), ())
    much = f"by {evidence:.1f} standard errors"
    got = f"features change less when an image is mirrored with pad_type {other!r} than with the stated {stated!r}, {much}."
    finding = SanityFinding("padding", got, f"try model_args: {{pad_type: {other!r}}} of backbone; weights from TensorFlow need 'same'.")
    return WeightsSanity(len(images), (row,), (finding,))


def _pads_same(network: nn.Module) -> bool:
    return any(type(module).__name__.endswith("Same") for module in network.modules())


def _of_knowledge(features: NDArray[np.float64], images: Tensor, targets: NDArray[Any], spec: BackboneSpec) -> WeightsSanity:
    columns = targets if targets.ndim == 2 else targets[:, None] == np.unique(targets)
    n_told_apart = int(((columns > 0).any(axis=0) & ~(columns > 0).all(axis=0)).sum())
    if n_told_apart == 0:
        return WeightsSanity(len(images), (), ())
    untrained = features_of(_untrained(spec).to(images.device).eval(), images)
    evidence = (log_me(untrained, targets) - log_me(features, targets)) * len(images) * n_told_apart
    row = Comparison("knowledge", "the same architecture untrained", evidence)
    if evidence < -_KNOWS:
        return WeightsSanity(len(images), (row,), ())
    got = (
        f"labels follow from its features hardly better than from those of the same architecture untrained (log evidence {-evidence:+.1f})."
    )
    return WeightsSanity(len(images), (row,), (SanityFinding("knowledge", got, _NEXT_STEPS["knowledge"]),))


def _untrained(spec: BackboneSpec) -> nn.Module:
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return build_backbone(spec)
