"""A condition on candidates that were adapted to a domain without labels."""

from __future__ import annotations

from typing import Literal

from pipelines.config.gates.on_answers import Level, MinN
from pipelines.config.section import Section


class AdaptationGate(Section):
    """An adapted candidate is better on labelled test samples of the target domain than plain training without the adaptation.

    A run with `method: {kind: adapt}` has this gate whether or not the conf file names it.

    Attributes:
        level: Of the one-sided test; 0.95 lets an adaptation that gains nothing pass in at most 5 % of runs.
        min_n: Labelled test samples of the target domain needed; fewer is `insufficient_data`.
    """

    kind: Literal["adaptation"] = "adaptation"
    level: Level = 0.95
    min_n: MinN = 30
