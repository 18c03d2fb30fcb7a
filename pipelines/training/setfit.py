"""Method `setfit`: contrastive tuning of the backbone on pairs of texts, then the linear probe on its features.

Letters for shapes: n samples, m rows of a part of a step, l token ids, d features, k labels.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import JsonValue

from pipelines.config import AugmentSection, Recipe, SetFitMethod
from pipelines.core.modalities.text import PADDING_ID
from pipelines.training.curve import best_epoch
from pipelines.training.embedding import embed
from pipelines.training.inputs import BatchSource
from pipelines.training.label_counts import refuse_rare_labels
from pipelines.training.linear import head_logits, probe_record, train_probe, with_head
from pipelines.training.loop import fit
from pipelines.training.material import Deadline, Material, Trained
from pipelines.training.optimization import trainable_groups
from pipelines.training.pairs import PairSource
from pipelines.training.placing import place
from pipelines.training.probe import Probe, fit_probe
from pipelines.training.step import StepPart
from pipelines.training.training_plan import Fit, TrainingPlan
from pipelines.training.validation import ValidationResult, measure

if TYPE_CHECKING:
    import torch
    from torch import nn

_SEE_PAIRS = "label more of them: a pair of texts with the same label takes two."


def train_setfit(material: Material, method: SetFitMethod, deadline: Deadline | None = None) -> Trained:
    """Method `setfit`: texts of one label are pulled together, others pushed apart, and a probe is fitted on the tuned features.

    Tunstall et al. 2022, https://arxiv.org/abs/2209.11055. We differ in drawing new pairs in every epoch, in judging every epoch by a probe
    on validation and keeping the best one's weights, and in AdamW with a cosine. The probe on the untuned backbone counts as epoch 0 and
    is what is left where tuning does not help: the result is never worse than method `probe` on validation, by loss or by accuracy.

    Args:
        material: Texts with one label each.
        method: Pairs, recipe and probe.
        deadline: Of whoever asked, besides `method.budget_minutes`; too short for one epoch leaves the probe.

    Raises:
        DataError: A label has fewer than two training samples, or a loss is not finite.
        ConfigurationError: More blocks are asked for than there are, or one pair does not fit into memory.
    """
    refuse_rare_labels(material.train.targets, material.config.labels, at_least=2, next_step=_SEE_PAIRS)
    plain = train_probe(material, method.probe)
    began = time.monotonic()
    plan = _plan(material, method, deadline or Deadline(None))
    fitted = fit(plan)
    backbone = plan.network[0]
    probe, logits = probed(material, method, backbone)
    record = plain.record | _record(plan, fitted, method) | {"tuned_probe": probe_record(probe, method.probe)}
    reason = "no epoch's probe had a lower log loss on validation than the one on the backbone as it was"
    if record["best_epoch"] != 0:
        reason = worse_than_plain(_measured(material, logits), _plain_result(material, plain))
    seconds = {**plain.costs_seconds, "setfit": time.monotonic() - began}
    if reason:
        return replace(plain, record=record | {"kept": "probe", "reason": f"kept probe: {reason}", "best_epoch": 0}, costs_seconds=seconds)
    better = "kept setfit: its probe has a lower log loss on validation than the one on the backbone as it was, and no more errors"
    return Trained(with_head(backbone, probe), record | {"kept": "setfit", "reason": better}, seconds, logits)


def worse_than_plain(tuned: ValidationResult, plain: ValidationResult) -> str:
    """Why the backbone as it was is kept; empty where the tuned one is as good on validation by loss and by accuracy."""
    if not tuned.log_loss <= plain.log_loss:
        return f"tuning made validation worse: log loss {tuned.log_loss:.4g} against the plain probe's {plain.log_loss:.4g}"
    if tuned.accuracy < plain.accuracy:
        return f"tuning made validation worse: accuracy {100 * tuned.accuracy:.2f} % against the plain probe's {100 * plain.accuracy:.2f} %"
    return ""


def cosine_loss(one: torch.Tensor, other: torch.Tensor, is_same: torch.Tensor) -> torch.Tensor:
    """Mean squared distance of the cosine similarities to 1 for pairs of the same label and to 0 for others: a scalar.

    Args:
        one: [m, d].
        other: [m, d].
        is_same: [m] of 0 and 1.
    """
    from torch.nn import functional

    return (functional.cosine_similarity(one.float(), other.float()) - is_same.float()).square().mean()


@dataclass(frozen=True, eq=False)
class PairLoss:
    """`cosine_loss` of the pairs of a `PairSource`, both texts of each in one forward pass.

    Attributes:
        source: The samples that `targets` name places of.
    """

    source: BatchSource

    def __call__(self, view: nn.Sequential, inputs: torch.Tensor, targets: torch.Tensor, part: StepPart) -> torch.Tensor:
        """As `pipelines.training.step.PartLoss`."""
        import torch

        partners = torch.from_numpy(self.source.batch(targets[:, 0].cpu().numpy())).to(inputs.device)
        n_tokens = max(inputs.shape[1], partners.shape[1])
        one, other = view(torch.cat([_widened(inputs, n_tokens), _widened(partners, n_tokens)])).chunk(2)
        return cosine_loss(one, other, targets[:, 1])


def _widened(ids: torch.Tensor, n_tokens: int) -> torch.Tensor:
    from torch.nn import functional

    return functional.pad(ids, (0, n_tokens - ids.shape[1]), value=PADDING_ID)


def probed(material: Material, method: SetFitMethod, backbone: nn.Module) -> tuple[Probe, NDArray[np.float32]]:
    """The probe on a backbone as it is now, and its validation logits [n, k]."""
    config = material.config
    train, validation = (embed(backbone, inputs, n_workers=config.compute.n_workers) for inputs in (material.train, material.validation))
    probe = fit_probe(train, material.train.targets, config.labels, method.probe, config.seed)
    return probe, head_logits(with_head(backbone, probe)[1], validation)


def _plain_result(material: Material, plain: Trained) -> ValidationResult:
    known = plain.validation_logits
    return _measured(material, embed(plain.network, material.validation) if known is None else known)


def _measured(material: Material, logits: NDArray[np.float32]) -> ValidationResult:
    return measure(logits, material.validation.targets, material.config.labels_per_sample)


def _plan(material: Material, method: SetFitMethod, deadline: Deadline) -> TrainingPlan:
    from torch import nn

    config, backbone, recipe = material.config, material.fresh_backbone(0.0), _recipe(method)
    network = nn.Sequential(backbone, nn.Identity())  # features are what is tuned: there is no head meanwhile
    runtime = place(network, material.train, config).runtime
    groups = trainable_groups(backbone, recipe.n_upper_blocks)
    pairs = PairSource(material.train, method.pairs_per_sample, config.seed)

    def judge() -> tuple[float, float]:
        result = _measured(material, probed(material, method, backbone)[1])
        return result.log_loss, result.accuracy

    return TrainingPlan(
        name=method.kind,
        network=network,
        upper=network,
        groups=groups,
        n_open=lambda _: len(groups),
        recipe=recipe,
        train=pairs,
        validation=material.validation,
        flips=(),
        preprocess=None,
        config=config,
        runtime=runtime,
        checkpoints=material.checkpoints,
        deadline=deadline,
        progress=material.progress,
        part_loss=PairLoss(material.train),
        before_epoch=pairs.renew,
        judge=judge,
        further_inputs={"pairs_per_sample": method.pairs_per_sample, "probe": method.probe.model_dump(mode="json")},
    )


def _recipe(method: SetFitMethod) -> Recipe:
    """What the training loop goes by: one rate for all blocks, texts as they are, no labels to smooth."""
    shared = method.model_dump(include=set(Recipe.model_fields))
    return Recipe(**shared, layer_decay=1.0, label_smoothing=0.0, augment=AugmentSection(policy="none"))


def _record(plan: TrainingPlan, fitted: Fit, method: SetFitMethod) -> dict[str, JsonValue]:
    """Nothing in it depends on time or on whether the training was resumed, unless a budget cut it."""
    curve: list[JsonValue] = [dict(epoch.as_row()) for epoch in fitted.curve]
    cut: JsonValue = None if fitted.cut_at is None else {"epoch": fitted.cut_at[0], "steps_done": fitted.cut_at[1]}
    n_each = len(plan.train) // 2
    return {
        "method": plan.name,
        "pairs": {"per_sample": method.pairs_per_sample, "same_label": n_each, "different_labels": n_each},
        "curve": curve,
        "best_epoch": best_epoch(fitted.curve),
        "precision": {"name": plan.runtime.precision.name, "reason": plan.runtime.precision.reason},
        "micro_batch": fitted.micro_batch,
        "cut_by_budget": cut,
    }
