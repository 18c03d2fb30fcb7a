"""How knowledge is transferred: one section for each row of the table of methods."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.config.section import Fraction, Positive, Section


class ProbeMethod(Section):
    """A linear probe on frozen features: multinomial logistic regression.

    Attributes:
        strengths: Inverse L2 strengths (scikit-learn's C) to choose from by cross-validation on the training split.
        folds: Of that cross-validation.
        class_weights: `balanced` counts each class as much as any other, however few samples it has; probabilities are then those of a
            world in which all classes are equally common.
    """

    kind: Literal["probe"] = "probe"
    strengths: Annotated[tuple[Positive, ...], Field(min_length=1)] = (0.01, 0.1, 1.0, 10.0)
    folds: Annotated[int, Field(ge=2)] = 3
    class_weights: Literal["none", "balanced"] = "none"


class PrototypeMethod(Section):
    """Each class is the mean of its features, for a few shots a class (Snell et al. 2017, https://arxiv.org/abs/1703.05175)."""

    kind: Literal["prototype"]


class AugmentSection(Section):
    """Random changes of training samples that leave their label true.

    With `task: text` the policy is `none` unless it is stated, and with `task: audio` it is `spec_augment` and `gain_db` is 12.

    Attributes:
        policy: `shift_scale_rotate` moves, scales and turns a little; `rand_augment` draws from a list that includes brightness and
            contrast (Cubuk et al. 2019, https://arxiv.org/abs/1909.13719); `token_dropout`, for texts, leaves each token out with
            probability `magnitude` / 3 (Iyyer et al. 2015, https://aclanthology.org/P15-1162); `spec_augment`, for sounds, masks bands of
            time and frequency, each of up to `magnitude` / 3 of them (Park et al. 2019, https://arxiv.org/abs/1904.08779); `none`.
        magnitude: Of rand_augment, token_dropout and spec_augment, in [0, 1].
        n_operations: Of rand_augment, drawn for each image; of spec_augment, bands of either kind.
        flips: `auto` flips in the directions that the probe does not mind on validation images, where a flipped digit is another digit;
            that takes some hundred of them, fewer mean none.
        mixup_alpha: Blends pairs of images and labels (Zhang et al. 2017, https://arxiv.org/abs/1710.09412); 0 is off.
        cutmix_alpha: Pastes a rectangle of another image (Yun et al. 2019, https://arxiv.org/abs/1905.04899); 0 is off. With both on, each
            batch gets one of them.
        gain_db: Makes each sound louder or quieter by up to so many decibels, drawn evenly, as microphones and distances do; 0 is off, as
            it is unless stated under the policy `none`.
    """

    policy: Literal["none", "shift_scale_rotate", "rand_augment", "token_dropout", "spec_augment"] = "shift_scale_rotate"
    magnitude: Fraction = 0.3
    n_operations: Annotated[int, Field(ge=1, le=8)] = 2
    flips: Literal["auto", "none", "horizontal", "vertical", "both"] = "none"
    mixup_alpha: Annotated[float, Field(ge=0)] = 0.0
    cutmix_alpha: Annotated[float, Field(ge=0)] = 0.0
    gain_db: Annotated[float, Field(ge=0, le=60)] = 0.0

    @property
    def changes_nothing_but_flips(self) -> bool:
        """Whether samples are trained on as they are, or flipped: `auto` chooses the directions from the data."""
        return self.policy == "none" and self.mixup_alpha == self.cutmix_alpha == self.gain_db == 0


class Recipe(Section):
    """What all trainings by gradient share.

    Attributes:
        n_upper_blocks: How many of the last blocks are trained, and the head with them, as timm divides the architecture; 0 is the head
            alone, nothing is all of them.
        batch_size: Samples for one step of the optimiser, over all processes; memory decides into how many parts a step is cut.
        learning_rate: Peak, of the head; each block below has `layer_decay` times that of the one above.
        weight_decay: AdamW's; norms and biases are spared.
        warmup_frac: Share of the steps in which the rate rises to its peak; a cosine then takes it to 0.
        epochs: At most.
        label_smoothing: Share of a label's probability that is spread over all of them.
        max_gradient_norm: Longer gradients are scaled down to it.
        class_weights: `balanced` counts each class as much as any other in the loss.
        dropout: Before the head.
        drop_path: Stochastic depth of the last block, rising from 0 (Huang et al. 2016, https://arxiv.org/abs/1603.09382); an error
            where the architecture has none.
        freeze_batch_norm: Keeps the pretrained statistics: with few samples new ones are noise.
        l2_sp: Strength of the pull to the pretrained weights (Li et al. 2018, https://arxiv.org/abs/1802.01483), in place of
            weight_decay; 0 is off.
        ema_decay: Judge and keep an exponential moving average of the weights, warmed up as min(decay, 1 - n^(-2/3)) after n steps; nothing
            is off.
        early_stopping_epochs: Stop after as many epochs without a better validation loss; the best epoch's weights are kept. Nothing
            trains all epochs and still keeps the best.
        budget_minutes: Stop training after as long, at a step's end, and keep the best epoch so far; nothing is no limit. A run that was
            cut by it is not reproducible to the bit; its record says so.
        after: Steps after training, in order. `greedy_soup` averages the epochs' weights while validation gains (Wortsman et al. 2022,
            https://arxiv.org/abs/2203.05482); `wise_ft` goes from the start's weights to the end's as far as validation gains (Wortsman
            et al. 2021, https://arxiv.org/abs/2109.01903).
    """

    n_upper_blocks: Annotated[int, Field(ge=0)] | None = None
    epochs: Annotated[int, Field(ge=1)] = 12
    batch_size: Annotated[int, Field(ge=2)] = 64
    learning_rate: Positive = 1e-3
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 0.7
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    warmup_frac: Fraction = 0.1
    label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.05
    class_weights: Literal["none", "balanced"] = "none"
    dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0
    drop_path: Annotated[float, Field(ge=0, lt=1)] = 0.0
    freeze_batch_norm: bool = True
    l2_sp: Annotated[float, Field(ge=0)] = 0.0
    ema_decay: Annotated[float, Field(gt=0, lt=1)] | None = None
    max_gradient_norm: Positive = 1.0
    early_stopping_epochs: Annotated[int, Field(ge=1)] | None = 4
    augment: AugmentSection = AugmentSection()
    budget_minutes: Positive | None = None
    after: tuple[Literal["greedy_soup", "wise_ft"], ...] = ()

    @model_validator(mode="after")
    def _no_step_twice(self) -> Recipe:
        if len(set(self.after)) != len(self.after):
            raise ValueError(f"after names a step twice: {', '.join(self.after)}")
        return self


class FineTuneMethod(Recipe):
    """Fine-tuning with a new head, of all blocks or the last ones."""

    kind: Literal["fine_tune"]
    freeze_batch_norm: bool = False


class LpFtMethod(Recipe):
    """Linear probe, then fine-tuning from it (Kumar et al. 2022, https://arxiv.org/abs/2202.10054).

    Attributes:
        probe: The head's start.
        n_upper_blocks: How many of the last blocks are trained, and the head with them; 0 is the probe alone: nothing is trained after
            it. Nothing is all of them.
    """

    kind: Literal["lp_ft"]
    probe: ProbeMethod = ProbeMethod()
    n_upper_blocks: Annotated[int, Field(ge=0)] | None = 2


class GradualMethod(Recipe):
    """Gradual unfreezing: the head first, then one block more each epoch, lower blocks more slowly (Howard and Ruder 2018).

    https://arxiv.org/abs/1801.06146.

    Attributes:
        epochs_per_block: Epochs before the next block down is trained too.
    """

    kind: Literal["gradual"]
    epochs_per_block: Annotated[int, Field(ge=1)] = 1
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1 / 2.6


class ScratchMethod(Recipe):
    """The same architecture untrained: what the backbone's knowledge is worth is the difference to this."""

    kind: Literal["scratch"]
    epochs: Annotated[int, Field(ge=1)] = 60
    learning_rate: Positive = 5e-3
    layer_decay: Annotated[float, Field(gt=0, le=1)] = 1.0
    freeze_batch_norm: bool = False
    early_stopping_epochs: Annotated[int, Field(ge=1)] | None = None

    @model_validator(mode="after")
    def _nothing_pretrained(self) -> ScratchMethod:
        for name, pretrained in (("n_upper_blocks", self.n_upper_blocks is not None), ("l2_sp", self.l2_sp > 0)):
            if pretrained:
                raise ValueError(f"{name} has no meaning for scratch, which starts from nothing; remove it")
        return self


class AutoFineTune(LpFtMethod):
    """`lp_ft` as `auto` tries it: few epochs that all come to their end, of small batches, so that few samples are enough steps."""

    kind: Literal["lp_ft"] = "lp_ft"
    n_upper_blocks: Annotated[int, Field(ge=0)] | None = None
    epochs: Annotated[int, Field(ge=1)] = 8
    batch_size: Annotated[int, Field(ge=2)] = 16
    early_stopping_epochs: Annotated[int, Field(ge=1)] | None = None


class AutoMethod(Section):
    """Tries the ways from the simplest up within a time budget and keeps the simplest that evidence cannot tell from the best.

    Evidence is the log loss on validation: a simpler way within one standard error of the best one's loss is kept. What ends worse than
    the probe on validation, by loss or by accuracy, is never kept.

    Attributes:
        budget_minutes: For all of training. The probe is fitted whatever it takes; what follows stops in time.
        probe: The linear probe.
        fine_tune: How the blocks are trained after the probe.
    """

    kind: Literal["auto"] = "auto"
    budget_minutes: Positive = 10.0
    probe: ProbeMethod = ProbeMethod()
    fine_tune: AutoFineTune = AutoFineTune()


class LoraMethod(Recipe):
    """Linear probe, then low-rank adapters on the linear layers of attention and MLP (Hu et al. 2021, https://arxiv.org/abs/2106.09685).

    The backbone's own weights stay; what ships has the adapters merged into them.

    Attributes:
        probe: The head's start.
        rank: Of each adapter.
        alpha: An adapter's output is scaled by alpha / rank.
        adapter_dropout: Before each adapter.
    """

    kind: Literal["lora"]
    probe: ProbeMethod = ProbeMethod()
    rank: Annotated[int, Field(ge=1)] = 8
    alpha: Positive = 16.0
    adapter_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.0

    @model_validator(mode="after")
    def _adapters_only(self) -> LoraMethod:
        for name, meant_for_blocks in (("n_upper_blocks", self.n_upper_blocks is not None), ("l2_sp", self.l2_sp > 0)):
            if meant_for_blocks:
                raise ValueError(f"{name} has no meaning for lora, which trains adapters and the head alone; remove it")
        return self


class SetFitMethod(Section):
    """Contrastive tuning for few labelled texts, then a linear probe (SetFit, Tunstall et al. 2022, https://arxiv.org/abs/2209.11055).

    Texts of one label are pulled together and texts of different labels pushed apart; the probe is then fitted on the tuned features. Where
    that is worse than the probe on the features as they were, on validation, these are kept. One label a sample.

    Attributes:
        probe: The head, before and after.
        pairs_per_sample: Pairs with a text of the same label that each training sample begins in an epoch, and as many with a text of
            another label; every epoch draws its own.
        n_upper_blocks: How many of the last blocks are tuned; nothing is all of them.
        epochs: At most.
        batch_size: Pairs for one step of the optimiser.
        learning_rate: Peak, of all blocks.
        weight_decay: AdamW's; norms and biases are spared.
        warmup_frac: Share of the steps in which the rate rises to its peak; a cosine then takes it to 0.
        max_gradient_norm: Longer gradients are scaled down to it.
        early_stopping_epochs: Stop after as many epochs whose probe has no better validation loss; the best epoch's weights are kept
            either way.
        budget_minutes: Stop tuning after as long, at a step's end, and keep the best epoch so far; nothing is no limit.
    """

    kind: Literal["setfit"]
    probe: ProbeMethod = ProbeMethod()
    pairs_per_sample: Annotated[int, Field(ge=1)] = 5
    n_upper_blocks: Annotated[int, Field(ge=1)] | None = None
    epochs: Annotated[int, Field(ge=1)] = 4
    batch_size: Annotated[int, Field(ge=2)] = 16
    learning_rate: Positive = 2e-5
    weight_decay: Annotated[float, Field(ge=0)] = 0.01
    warmup_frac: Fraction = 0.1
    max_gradient_norm: Positive = 1.0
    early_stopping_epochs: Annotated[int, Field(ge=1)] | None = None
    budget_minutes: Positive | None = None


# Methods that learn from labelled samples alone.
PlainMethod = Annotated[
    AutoMethod | ProbeMethod | PrototypeMethod | FineTuneMethod | LpFtMethod | GradualMethod | ScratchMethod | LoraMethod | SetFitMethod,
    Field(discriminator="kind"),
]
