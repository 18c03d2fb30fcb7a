"""Conditions on a candidate's answers for the test split."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, model_validator

from pipelines.config.section import Fraction, Section

Level = Annotated[float, Field(gt=0.5, lt=1)]
MinN = Annotated[int, Field(ge=1)]


class MinMetricGate(Section):
    """The lower end of the metric's confidence interval on the test split clears a floor.

    Attributes:
        metric: `accuracy`; `macro_f1`, the mean of the labels' F1; `auroc`, the mean of each label's against all others; `recall`, of
            one label.
        label: Whose recall; only with `metric: recall`.
        floor: What the lower end must reach, in [0, 1].
        level: Of the one-sided bound.
        min_n: Test samples needed; of `recall`, samples of that label.
    """

    kind: Literal["min_metric"]
    metric: Literal["accuracy", "macro_f1", "auroc", "recall"] = "accuracy"
    label: str | None = None
    floor: Fraction
    level: Level = 0.95
    min_n: MinN = 30

    @model_validator(mode="after")
    def _label_of_a_recall(self) -> MinMetricGate:
        if (self.metric == "recall") != (self.label is not None):
            raise ValueError("metric: recall names its label, and no other metric has one")
        return self


class BeatsChampionGate(Section):
    """Paired on the same test samples: not worse than the champion by more than a margin, overall and on every domain and named slice.

    Where drift began the run, also better than the champion on the domains that are new since it was trained.

    Attributes:
        metric: What is compared: `accuracy` by an exact test, `macro_f1` and `auroc` by a paired score test.
        margin: Loss of the metric that would be acceptable, in [0, 1].
        level: Of the one-sided test; 0.95 promotes a candidate that is worse by the margin in at most 5 % of runs.
        min_n: Test samples needed overall and on each drifted domain; fewer is `insufficient_data`, as are fewer than 100 of `macro_f1`
            and `auroc`. Other domains and slices that are small are pooled (docs/gates.md).
        without_champion: What a first run gets. There is nothing to compare with, so the conf file must say it.
    """

    kind: Literal["beats_champion"]
    metric: Literal["accuracy", "macro_f1", "auroc"] = "accuracy"
    margin: Fraction = 0.03
    level: Level = 0.95
    min_n: MinN = 30
    without_champion: Literal["pass", "refuse"]


class CalibrationGate(Section):
    """The confidences are right on average: the upper bound of the calibration error, its bias removed, stays below a limit.

    Attributes:
        max_error: Largest expected calibration error of the packaged, temperature-scaled confidences.
        level: Of the one-sided bound.
        min_n: Test samples needed.
    """

    kind: Literal["calibration"]
    max_error: Fraction = 0.05
    level: Level = 0.95
    min_n: MinN = 100


class SlicesGate(Section):
    """No slice of the test split is left behind.

    Attributes:
        by: What splits the samples: `domain`, `label`, or columns that `data.slices` names.
        floor: Accuracy that each slice's lower bound must reach; null asks nothing.
        max_gap: Largest difference of accuracy between any two groups of one column, shown with confidence; null asks nothing.
        level: Of each one-sided bound.
        min_n: Samples below which a slice is reported and `insufficient_data`.
        small: What slices with fewer than `min_n` samples do: `report` them only, or `refuse` to promote while there are any.
    """

    kind: Literal["slices"]
    by: Annotated[tuple[str, ...], Field(min_length=1)] = ("domain",)
    floor: Fraction | None = None
    max_gap: Fraction | None = None
    level: Level = 0.95
    min_n: MinN = 30
    small: Literal["report", "refuse"] = "refuse"

    @model_validator(mode="after")
    def _asks_something(self) -> SlicesGate:
        if self.floor is None and self.max_gap is None:
            raise ValueError("give floor, max_gap or both: without them nothing is asked")
        return self
