"""Conditions on what a candidate does beside the test split: against baselines, on altered inputs, on a team's own examples."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated, Literal

from pydantic import Field, field_validator

from pipelines.config.gates.on_answers import Level, MinN
from pipelines.config.section import Fraction, Section

Corruption = Literal["blur", "noise", "brightness", "jpeg", "typos", "deletions", "case", "spaces", "gain", "low_pass"]


class NegativeTransferGate(Section):
    """The transfer is worth it: better than the same architecture trained from scratch and than the majority class, not worse than a probe.

    Attributes:
        margin: Loss against the probe that would be acceptable, in [0, 1].
        level: Of each one-sided test.
        min_n: Test samples needed.
        scratch_epochs: Longest training of the untrained architecture; it stops early on validation.
    """

    kind: Literal["negative_transfer"]
    margin: Fraction = 0.03
    level: Level = 0.95
    min_n: MinN = 30
    scratch_epochs: Annotated[int, Field(ge=1)] = 30


class RobustnessGate(Section):
    """Accuracy is kept on altered test samples.

    Attributes:
        corruptions: What is done to each test sample, one after the other: `blur`, `noise`, `brightness` and `jpeg` to images, `typos`,
            `deletions`, `case` and `spaces` to texts, `noise`, `gain` and `low_pass` to sounds. Unless they are stated, those of the task.
        severity: From 1, hardly seen, to 5.
        max_loss: Accuracy that each corruption may cost, in [0, 1], shown with confidence on the same samples.
        level: Of each one-sided test.
        min_n: Test samples needed.
    """

    kind: Literal["robustness"]
    corruptions: Annotated[tuple[Corruption, ...], Field(min_length=1)] = ("blur", "noise", "brightness", "jpeg")
    severity: Annotated[int, Field(ge=1, le=5)] = 2
    max_loss: Fraction = 0.1
    level: Level = 0.95
    min_n: MinN = 30

    @field_validator("corruptions")
    @classmethod
    def _each_once(cls, names: tuple[Corruption, ...]) -> tuple[Corruption, ...]:
        doubles = sorted({name for name in names if names.count(name) > 1})
        if doubles:
            raise ValueError(f"corruptions are listed twice: {', '.join(doubles)}")
        return names


class BehaviourGate(Section):
    """The team's own examples in a small file: inputs that must be answered alike (invariance), or in a given way (direction).

    Attributes:
        file: YAML, relative to the workspace and below it; not in conf/, where each .yaml is a project.
    """

    kind: Literal["behaviour"]
    file: str = "behaviour.yaml"

    @field_validator("file")
    @classmethod
    def _in_the_workspace(cls, name: str) -> str:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or path.suffix not in (".yaml", ".yml"):
            raise ValueError("give a path below the workspace, without a leading / and without .., that ends in .yaml or .yml")
        if path.parent == PurePosixPath("conf") and path.suffix == ".yaml":
            raise ValueError(
                "give a path outside of conf/, for example behaviour.yaml: each .yaml in conf/ is taken for a project's conf file"
            )
        return name


class LeakageGate(Section):
    """No test sample has a duplicate or a near-duplicate among the samples that were learnt from.

    Attributes:
        max_pairs: Test samples with a near-duplicate in another split that are let pass.
    """

    kind: Literal["leakage"]
    max_pairs: Annotated[int, Field(ge=0)] = 0


class LicenceGate(Section):
    """Weights and data are used under licences that the team allows.

    Attributes:
        weights: SPDX identifiers that the backbone's weights may have.
        data: Those that the data may have; `data.licence` says which it is.
    """

    kind: Literal["licence"]
    weights: Annotated[tuple[str, ...], Field(min_length=1)]
    data: Annotated[tuple[str, ...], Field(min_length=1)]


class TestReuseGate(Section):
    """One test set decides over a limited number of candidates.

    Attributes:
        max_looks: Candidates that may be judged on what is mostly the same test set; then new test samples are due.
        spread: Whether the error of every other gate's tests is divided by `max_looks`, so that all looks together keep the stated level.
    """

    __test__ = False

    kind: Literal["test_reuse"]
    max_looks: Annotated[int, Field(ge=1)] = 20
    spread: bool = False


class GoldensGate(Section):
    """A fresh process that loads the sealed bundle gives the stored answers for the stored inputs."""

    kind: Literal["goldens"]
