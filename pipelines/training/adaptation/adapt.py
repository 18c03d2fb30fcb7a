"""Method `adapt`: from a plainly trained model and unlabelled samples to a model for their domain.

Letters for shapes: n samples, d features, k labels.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

from pydantic import JsonValue

from pipelines.config import AdaptMethod, LoraMethod, PlainMethod, Recipe
from pipelines.core.errors import ConfigurationError, DataError
from pipelines.dataset import Sample
from pipelines.training.adaptation.batch_norm import batch_norms, reestimate_batch_norm
from pipelines.training.adaptation.coral import coral_alignment
from pipelines.training.adaptation.training import adapt_by_dann, adapt_by_shot
from pipelines.training.embedding import embed
from pipelines.training.inputs import SampleInputs
from pipelines.training.linear import head_logits, with_head
from pipelines.training.material import Material, Trained
from pipelines.training.probe import fit_probe
from pipelines.unlabelled import UnlabelledSample, read_unlabelled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Means and variances of fewer say nothing of a domain.
LEAST_UNLABELLED = 16


def train_adapted(material: Material, method: AdaptMethod, source: Trained) -> Trained:
    """Adapts a model to the domain of the method's unlabelled samples.

    `bn`: its batch norms get the target's statistics (AdaBN, Li et al. 2016, https://arxiv.org/abs/1603.04779). `coral`: a new head on
    source features that have the target's covariance (Sun et al. 2016, https://arxiv.org/abs/1511.05547). `dann`: features from which the
    domains cannot be told apart (Ganin et al. 2016, https://arxiv.org/abs/1505.07818). `shot`: the backbone moves until the source's head
    is sure of the target (Liang et al. 2020, https://arxiv.org/abs/2002.08546). Where each differs from its paper is said beside it.

    Args:
        material: Labelled samples.
        method: How, and with which unlabelled samples.
        source: The model as `method.source` trained it; its network is changed in place.

    Returns:
        Validation logits, by which the answers are calibrated, are of labelled samples, hence of the source: by `bn` and `coral` under
        the source's own statistics, to which the target's are made equal; else of the adapted network.

    Raises:
        ConfigurationError: No unlabelled samples are named, or the way does not fit the network or the task.
        DataError: There are fewer than 16 of them, or a loss is not finite.
        IntegrityError: The snapshot of unlabelled samples is not as it was made.
    """
    target = target_inputs(material, method)
    began = time.monotonic()
    match method.by:
        case "bn":
            adapted = _by_batch_norm(material, method, source, target)
        case "coral":
            adapted = _by_coral(material, method, source, target)
        case "dann":
            adapted = adapt_by_dann(material, method, source.network, target)
        case "shot":
            adapted = adapt_by_shot(material, method, source.network, target)
    described: dict[str, JsonValue] = {
        "method": "adapt",
        "by": method.by,
        "n_train": len(material.train),
        "n_unlabelled": len(target),
        "unlabelled": method.unlabelled,
        "source": dict(source.record),
    }
    cut = adapted.record.get("cut_by_budget") or source.record.get("cut_by_budget")
    record = {**described, **adapted.record, "cut_by_budget": cut}
    seconds = {**{f"source {name}": value for name, value in source.costs_seconds.items()}, f"adapt {method.by}": time.monotonic() - began}
    return Trained(adapted.network, record, seconds, adapted.validation_logits)


def refuse_unfit(material: Material, method: AdaptMethod) -> None:
    """Refuses what is known to fail before the source is trained, which takes minutes.

    Raises:
        ConfigurationError: No unlabelled samples are named, or `by: bn` and a backbone without batch norm.
        DataError: There are too few unlabelled samples.
        IntegrityError: Their snapshot is not as it was made.
    """
    target_inputs(material, method)
    if method.by == "bn":
        batch_norms(material.fresh_backbone(0.0))


def target_inputs(material: Material, method: AdaptMethod) -> SampleInputs:
    """The unlabelled samples as a network is fed with them.

    Raises:
        ConfigurationError: The method names none.
        DataError: There are too few.
        IntegrityError: The snapshot is not as it was made.
    """
    if method.unlabelled is None:
        raise ConfigurationError(
            got="method adapt without unlabelled samples.",
            allowed="method.unlabelled, the name of a folder below data/unlabelled/.",
            next_step="run `regraft retrain --adapt`, which makes such a snapshot of the inputs that the endpoint has kept.",
        )
    unlabelled = read_unlabelled(material.train.data, method.unlabelled)
    if len(unlabelled) < LEAST_UNLABELLED:
        raise DataError(
            got=f"{len(unlabelled)} unlabelled samples in {method.unlabelled}.",
            allowed=f"at least {LEAST_UNLABELLED}; a domain's statistics take some hundreds.",
            next_step="raise serving.sample_raw_frac and wait for more traffic.",
        )
    samples = [_as_sample(item) for item in sorted(unlabelled, key=lambda item: item.id)]
    return replace(material.train, samples=samples, labels=("",), labels_per_sample="one")


def _as_sample(item: UnlabelledSample) -> Sample:
    return Sample(item.id, item.path, "", item.id, item.domain, item.arrival, "train")


def _by_batch_norm(material: Material, method: AdaptMethod, source: Trained, target: SampleInputs) -> Trained:
    """AdaBN presumes the source's own statistics; a model whose norms kept others first gets these, and a head fitted under them."""
    n_workers = material.config.compute.n_workers
    network, refitted = source.network, not has_own_statistics(method.source)
    if refitted:
        reestimate_batch_norm(network, material.train, n_workers=n_workers)
        config = material.config
        features = embed(network[0], material.train, n_workers=n_workers)
        network = with_head(network[0], fit_probe(features, material.train.targets, config.labels, method.bn.probe, config.seed))
    logits = embed(network, material.validation, n_workers=n_workers)
    n_layers = reestimate_batch_norm(network, target, method.bn.source_samples, n_workers)
    return Trained(network, {"batch_norms": n_layers, "head_refitted": refitted}, validation_logits=logits)


def has_own_statistics(method: PlainMethod) -> bool:
    """Whether a method leaves batch norms whose statistics are all of its training samples, as they are.

    Augmented samples have others: resampling alone takes a fifth of the first layer's variance from MNIST's digits, and measured on plain
    ones the statistics then cost points on the source itself.
    """
    if not isinstance(method, Recipe) or isinstance(method, LoraMethod):
        return False
    is_plain = method.augment.flips == "none" and method.augment.changes_nothing_but_flips
    return is_plain and not method.freeze_batch_norm and method.n_upper_blocks is None


def _by_coral(material: Material, method: AdaptMethod, source: Trained, target: SampleInputs) -> Trained:
    def features(inputs: SampleInputs) -> NDArray[np.float32]:
        return embed(source.network[0], inputs, n_workers=material.config.compute.n_workers)

    of_train = features(material.train)
    alignment = coral_alignment(of_train, features(target), method.coral.regularisation)
    config = material.config
    probe = fit_probe(alignment.apply(of_train), material.train.targets, config.labels, method.coral.probe, config.seed)
    network = with_head(source.network[0], probe)
    logits = head_logits(network[1], alignment.apply(features(material.validation)))
    return Trained(network, {"probe": {"strength": probe.strength, "folds": probe.n_folds}}, validation_logits=logits)
