"""What the data must look like, and how it is split."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Annotated

from pydantic import Field, field_validator, model_validator

from pipelines.config.section import Fraction, Section

_LABELS_COLUMNS = ("path", "label", "group", "domain", "arrival", "split")


class DataSection(Section):
    """What the data must look like.

    Attributes:
        labels_table: Relative to `data/` and below it; a .csv or .parquet file.
        min_samples_per_class: Fewer is refused.
        max_duplicate_frac: Share of samples with the bytes of another; more is a warning.
        max_language_rise: Of texts, share by which a language may rise among those that came last (`arrival`); more is a warning.
        slices: Further columns of the labels table by whose values the result is also judged, for example a scanner or an age group.
        licence: Of the data, as an SPDX identifier or a name; stands on the model card, and the gate `licence` asks for it.
    """

    labels_table: str = "labels.csv"
    min_samples_per_class: Annotated[int, Field(ge=3)] = 10
    max_duplicate_frac: Fraction = 0.05
    max_language_rise: Fraction = 0.1
    slices: tuple[str, ...] = ()
    licence: str | None = None

    @field_validator("slices")
    @classmethod
    def _further_columns(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        taken = [name for name in names if name in _LABELS_COLUMNS or not name]
        if taken:
            raise ValueError(f"name further columns of the labels table, not {', '.join(map(repr, taken))}, which it has anyway")
        if len(set(names)) != len(names):
            raise ValueError("name each column once")
        return names

    @field_validator("labels_table")
    @classmethod
    def _below_data(cls, name: str) -> str:
        path = PurePosixPath(name)
        if path.is_absolute() or ".." in path.parts or path.suffix not in (".csv", ".parquet"):
            raise ValueError("give a path below data/, without a leading / and without .., that ends in .csv or .parquet")
        return name


class SplitSection(Section):
    """Shares of the splits. A sample's split is a hash of its group or content with `salt`, so it never moves.

    Attributes:
        train, validation, test: Shares that sum to 1.
        salt: Another one is another split of the same data.
    """

    train: Annotated[float, Field(gt=0, lt=1)] = 0.6
    validation: Annotated[float, Field(gt=0, lt=1)] = 0.15
    test: Annotated[float, Field(gt=0, lt=1)] = 0.25
    salt: str = "regraft"

    @model_validator(mode="after")
    def _sum_to_one(self) -> SplitSection:
        total = self.train + self.validation + self.test
        if abs(total - 1) > 1e-9:
            raise ValueError(f"train + validation + test is {total:g}; it must be 1")
        return self
