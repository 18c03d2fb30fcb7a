"""What is expected of a dataset: Great Expectations' expectations, each with a name, a sentence and what to say of a bad item."""

from __future__ import annotations

from pipelines.config import ProjectConfig
from pipelines.dataset import SPLITS
from pipelines.modalities.inspection import INPUTS
from pipelines.validate.check import Check
from pipelines.validate.input_checks import ROWS_USABLE, input_checks

# The column that names a bad row of each table to the reader.
PLACE_COLUMN = {"samples": "path", "classes": "label", "notes": "where", "languages": "language"}


def build_checks(config: ProjectConfig) -> list[Check]:
    """All checks, in the order of the report."""
    return [*_sample_checks(config), *_class_checks(config), *_warnings(config)]


def _sample_checks(config: ProjectConfig) -> list[Check]:
    import great_expectations.expectations as gxe

    # An empty table passes every expectation on its columns, so its rows are counted first.
    min_rows, noun = 2 * config.data.min_samples_per_class, INPUTS[config.task].noun
    return [
        Check(
            "enough_rows",
            "samples",
            f"the labels table has at least {min_rows} rows",
            gxe.ExpectTableRowCountToBeBetween(min_value=min_rows),
        ),
        Check("rows_usable", "samples", ROWS_USABLE[config.task], gxe.ExpectColumnValuesToBeNull(column="problem")),
        _known_labels(config),
        Check(
            "labels_agree",
            "samples",
            f"no {noun} is listed under two labels",
            gxe.ExpectColumnValuesToBeBetween(column="labels_per_picture", min_value=1, max_value=1),
            lambda value: f"the same {noun} has {value:g} labels",
            "twin",
        ),
        Check(
            "splits_known",
            "samples",
            f"every split is empty or one of {', '.join(SPLITS)}",
            gxe.ExpectColumnValuesToBeInSet(column="split", value_set=["", *SPLITS]),
            lambda value: f"the split {value!r} is unknown",
            "split",
        ),
    ]


def _known_labels(config: ProjectConfig) -> Check:
    import great_expectations.expectations as gxe

    if config.labels_per_sample == "one":
        return Check(
            "labels_known",
            "samples",
            "every label is one of the conf file's labels",
            gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(config.labels)),
            lambda value: f"the label {value!r} is not in the conf file's labels",
            "label",
        )
    return Check(
        "labels_known",
        "samples",
        "every label names labels of the conf file, each once, with | between them",
        gxe.ExpectColumnValuesToBeNull(column="wrong_label"),
        lambda value: f"the label {value!r} is no set of the conf file's labels",
        "label",
    )


def _class_checks(config: ProjectConfig) -> list[Check]:
    import great_expectations.expectations as gxe

    min_samples = config.data.min_samples_per_class
    return [
        _other_classes(config),
        Check(
            "samples_per_class",
            "classes",
            f"every class has at least {min_samples} samples",
            gxe.ExpectColumnValuesToBeBetween(column="n_samples", min_value=min_samples),
            lambda value: f"the class has {value:g} samples, fewer than {min_samples}",
        ),
    ]


def _other_classes(config: ProjectConfig) -> Check:
    import great_expectations.expectations as gxe

    if config.labels_per_sample == "one":
        return Check(
            "two_classes",
            "samples",
            "at least 2 classes are present",
            gxe.ExpectColumnUniqueValueCountToBeBetween(column="label", min_value=2),
        )
    # A label that all samples have is as little to be learnt as one that none has.
    min_samples = config.data.min_samples_per_class
    return Check(
        "samples_without_class",
        "classes",
        f"every class has at least {min_samples} samples without it",
        gxe.ExpectColumnValuesToBeBetween(column="n_without", min_value=min_samples),
        lambda value: f"the class is missing from {value:g} samples only, fewer than {min_samples}",
    )


def _warnings(config: ProjectConfig) -> list[Check]:
    import great_expectations.expectations as gxe

    max_copies = config.data.max_duplicate_frac
    unique = gxe.ExpectColumnValuesToBeUnique(column="id", mostly=1 - max_copies, severity="warning")
    unused = gxe.ExpectColumnValuesToBeNull(column="note", severity="warning")
    return [
        Check(
            "few_copies",
            "samples",
            f"at most {max_copies:.0%} of the samples are copies of another",
            unique,
            lambda _: "has the bytes of another",
        ),
        *input_checks(config),
        Check("columns_known", "notes", "every column of the labels table is used", unused),
    ]
