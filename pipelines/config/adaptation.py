"""The method `adapt`: a model that was trained on labelled samples meets unlabelled ones of another domain."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.config.methods import (
    AugmentSection,
    AutoMethod,
    FineTuneMethod,
    GradualMethod,
    LoraMethod,
    LpFtMethod,
    PlainMethod,
    ProbeMethod,
    PrototypeMethod,
    Recipe,
    ScratchMethod,
    SetFitMethod,
)
from pipelines.config.section import Positive, Section


class AdaptRecipe(Recipe):
    """How `dann` and `shot` train. The last epoch is kept: labelled validation samples are of the source and cannot choose for the target.

    With `task: text` 4 epochs at a rate of 5e-5 that falls to 0.9 of itself from block to block, unless it is stated; with `task: audio`
    batches of 16.

    Attributes:
        early_stopping_epochs: Always nothing.
        after: Always nothing.
    """

    epochs: Annotated[int, Field(ge=1)] = 8
    batch_size: Annotated[int, Field(ge=2)] = 32
    learning_rate: Positive = 5e-4
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0
    freeze_batch_norm: bool = False
    early_stopping_epochs: Annotated[int, Field(ge=1)] | None = None
    augment: AugmentSection = AugmentSection(policy="none")

    @model_validator(mode="after")
    def _nothing_that_validation_chooses(self) -> AdaptRecipe:
        augment = self.augment
        unfit = {
            "early_stopping_epochs": self.early_stopping_epochs is not None,
            "after": bool(self.after),
            "augment.flips: auto": augment.flips == "auto",
            "augment.mixup_alpha and cutmix_alpha": augment.mixup_alpha > 0 or augment.cutmix_alpha > 0,
        }
        for name, is_set in unfit.items():
            if is_set:
                raise ValueError(f"{name} needs labels of the target domain, which adapt does not have; remove it")
        if self.drop_path > 0:
            raise ValueError("drop_path is set when a backbone is made, and adapt takes the source's; set it in source, or use dropout")
        return self


class BatchNormAdaptation(Section):
    """Batch-norm statistics of the target domain (AdaBN, Li et al. 2016, https://arxiv.org/abs/1603.04779).

    Attributes:
        source_samples: Weight of the source's statistics, as a number of samples (Schneider et al. 2020,
            https://arxiv.org/abs/2006.16971): for few unlabelled samples. 0 is AdaBN.
        probe: The new head where the source was trained under other statistics than its own (`freeze_batch_norm`, frozen blocks,
            augmentation).
    """

    source_samples: Annotated[float, Field(ge=0)] = 0.0
    probe: ProbeMethod = ProbeMethod()


class CoralAdaptation(Section):
    """Source features with the target's covariance, and a new head on them (CORAL, Sun et al. 2016, https://arxiv.org/abs/1511.05547).

    Attributes:
        regularisation: Added to the diagonal of both covariances of standardised features; 1 as in the paper.
        probe: The new head.
    """

    regularisation: Positive = 1.0
    probe: ProbeMethod = ProbeMethod()


class DannAdaptation(Section):
    """Features from which a discriminator cannot tell the domains (DANN, Ganin et al. 2016, https://arxiv.org/abs/1505.07818).

    Attributes:
        max_weight: The reversed gradient's weight at the end; it rises from 0 as 2 / (1 + exp(-steepness * progress)) - 1.
        steepness: Of that rise; 10 as in the paper.
        n_hidden: Width of the discriminator's hidden layer.
        recipe: How all is trained together.
    """

    max_weight: Positive = 1.0
    steepness: Positive = 10.0
    n_hidden: Annotated[int, Field(ge=2)] = 128
    recipe: AdaptRecipe = AdaptRecipe()


class ShotAdaptation(Section):
    """The head stays, the backbone moves until it is sure of the target (SHOT, Liang et al. 2020, https://arxiv.org/abs/2002.08546).

    Attributes:
        diversity: Weight of the answers' diversity, which keeps all from becoming one class; 1 as in the paper.
        pseudo_label_weight: Of the cross entropy with the target's own cluster labels; 0 leaves them out.
        recipe: How the backbone is trained.
    """

    diversity: Annotated[float, Field(ge=0)] = 1.0
    pseudo_label_weight: Annotated[float, Field(ge=0)] = 0.3
    recipe: AdaptRecipe = AdaptRecipe()

    @model_validator(mode="after")
    def _head_stays(self) -> ShotAdaptation:
        for name, is_set in (("l2_sp", self.recipe.l2_sp > 0), ("class_weights", self.recipe.class_weights != "none")):
            if is_set:
                raise ValueError(f"recipe.{name} has no meaning for shot, which learns from no label; remove it")
        return self


class AdaptMethod(Section):
    """Adapts a model to a domain of which there are unlabelled samples only; it ships only if the gate `adaptation` finds it better.

    Attributes:
        by: `bn`, `coral`, `dann` or `shot`.
        unlabelled: Name of a snapshot of unlabelled samples, a folder below `data/unlabelled/`; `regraft retrain --adapt` makes one of
            the endpoint's inputs, `regraft data unlabelled` of a folder or a table. In the section `adaptation` nothing means that each
            run makes its own.
        n_newest: Inputs of a snapshot at most: the newest that the endpoint has kept; of a folder or a table as many drawn at random.
        source: How the model that is adapted is trained, and what the result must be better than.
        bn: Of `by: bn`.
        coral: Of `by: coral`.
        dann: Of `by: dann`.
        shot: Of `by: shot`.
    """

    kind: Literal["adapt"] = "adapt"
    by: Literal["bn", "coral", "dann", "shot"] = "shot"
    unlabelled: Annotated[str, Field(pattern="^[0-9a-f]{16}$")] | None = None
    n_newest: Annotated[int, Field(ge=16)] = 2_000
    source: PlainMethod = AutoMethod()
    bn: BatchNormAdaptation = BatchNormAdaptation()
    coral: CoralAdaptation = CoralAdaptation()
    dann: DannAdaptation = DannAdaptation()
    shot: ShotAdaptation = ShotAdaptation()

    @model_validator(mode="after")
    def _settings_of_the_way_taken(self) -> AdaptMethod:
        for name in ("bn", "coral", "dann", "shot"):
            if name != self.by and getattr(self, name) != type(self).model_fields[name].default:
                raise ValueError(f"{name} has settings, but the way taken is by: {self.by}; remove them, or write by: {name}")
        return self


Method = Annotated[
    AutoMethod
    | ProbeMethod
    | PrototypeMethod
    | FineTuneMethod
    | LpFtMethod
    | GradualMethod
    | ScratchMethod
    | LoraMethod
    | SetFitMethod
    | AdaptMethod,
    Field(discriminator="kind"),
]


def plain_method(method: Method) -> PlainMethod:
    """The method without adaptation: itself, or what `adapt` adapts."""
    return method.source if isinstance(method, AdaptMethod) else method
