"""The conditions on a candidate."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from pipelines.config.section import Fraction, Section

Level = Annotated[float, Field(gt=0.5, lt=1)]


class MinMetricGate(Section):
    """The lower end of the metric's confidence interval on the test split clears a floor."""

    kind: Literal["min_metric"]
    metric: Literal["accuracy"] = "accuracy"
    floor: Fraction
    level: Level = 0.95
    min_n: Annotated[int, Field(ge=1)] = 30


class BeatsChampionGate(Section):
    """Paired on the same test samples: not worse than the champion by more than a margin, overall and on every domain.

    Where drift began the run, also better than the champion on the domains that are new since it was trained.

    Attributes:
        margin: Loss of accuracy that would be acceptable, in [0, 1].
        level: Of the one-sided test; 0.95 promotes a candidate that is worse by the margin in at most 5 % of runs.
        min_n: Test samples needed overall and on each drifted domain; fewer is `insufficient_data`. Other domains that are small
            are pooled (docs/gates.md).
        without_champion: What a first run gets. There is nothing to compare with, so the conf file must say it.
    """

    kind: Literal["beats_champion"]
    margin: Fraction = 0.03
    level: Level = 0.95
    min_n: Annotated[int, Field(ge=1)] = 30
    without_champion: Literal["pass", "refuse"]


class GoldensGate(Section):
    """A fresh process that loads the sealed bundle gives the stored answers for the stored inputs."""

    kind: Literal["goldens"]


Gate = Annotated[MinMetricGate | BeatsChampionGate | GoldensGate, Field(discriminator="kind")]
