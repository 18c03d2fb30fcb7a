"""What one bundle answered for the test samples: the file `predictions.csv` of an evaluation, which the gates compare.

Columns: `id` (of the sample), `domain`, `label` (the true one), `predicted`, `confidence` (probability that the prediction is right).
Where a sample has any number of labels, `label` and `predicted` are texts of sets (`pipelines.core.label_sets`), and may be empty.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import DataError, Finding
from pipelines.core.label_sets import LabelsPerSample

_MAX_FINDINGS = 100


@dataclass(frozen=True, eq=False)
class TestAnswers:
    """Answers of one bundle for n test samples, n at least 1.

    Attributes:
        ids: [n], each once.
        domains: [n].
        labels: [n], the true ones.
        predicted: [n], the most probable ones.
        confidences: float64 [n], probability that the prediction is right, in [0, 1].
        labels_per_sample: `many`: an empty label is the empty set, else it is a mistake.
        slices: By column that `data.slices` names: [n], what the labels table says of the sample there; empty where it says nothing.
        probabilities: float64 [n, l] of all l labels, in the order of `label_names`; None where the evaluation kept none.
        label_names: All labels that the bundle can answer.

    Raises:
        DataError: There are no samples, the lengths differ, an id occurs twice, or a confidence is no probability.
    """

    # The name is no pytest class.
    __test__: ClassVar[bool] = False

    ids: NDArray[np.str_]
    domains: NDArray[np.str_]
    labels: NDArray[np.str_]
    predicted: NDArray[np.str_]
    confidences: NDArray[np.float64]
    labels_per_sample: LabelsPerSample = "one"
    slices: Mapping[str, NDArray[np.str_]] = field(default_factory=dict)
    probabilities: NDArray[np.float64] | None = None
    label_names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        _check_lengths(self)
        _check_values(self)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """[n]: whether the predicted label, or the whole predicted set, is the true one."""
        return np.asarray(self.predicted == self.labels)

    @property
    def n(self) -> int:
        """Samples."""
        return len(self.ids)


def write_answers(answers: TestAnswers, path: Path) -> None:
    """Writes answers as CSV, in the given order; the confidences survive a round trip exactly."""
    import pandas as pd

    table = pd.DataFrame(
        {
            "id": answers.ids,
            "domain": answers.domains,
            "label": answers.labels,
            "predicted": answers.predicted,
            "confidence": [repr(float(value)) for value in answers.confidences],
        }
    )
    table.to_csv(path, index=False, lineterminator="\n")


def read_answers(path: Path, labels_per_sample: LabelsPerSample = "one") -> TestAnswers:
    """Reads answers that `write_answers` wrote.

    Args:
        path: The file.
        labels_per_sample: Of the project.

    Raises:
        DataError: The file is missing or no such table, or its values are wrong; lists the bad rows.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise _wrong_answers(f"{path} that cannot be read: {error}.") from error
    columns = ["id", "domain", "label", "predicted", "confidence"]
    if list(table.columns) != columns:
        raise _wrong_answers(f"{path} with the columns {', '.join(table.columns)}.")
    texts = {name: table[name].to_numpy(dtype=np.str_) for name in columns}
    confidences = _as_numbers(texts["confidence"], path)
    return TestAnswers(texts["id"], texts["domain"], texts["label"], texts["predicted"], confidences, labels_per_sample)


def _as_numbers(texts: NDArray[np.str_], path: Path) -> NDArray[np.float64]:
    try:
        return texts.astype(np.float64)
    except ValueError as error:
        raise _wrong_answers(f"{path} with a confidence that is no number: {error}.") from error


def _check_lengths(answers: TestAnswers) -> None:
    lengths = {name: len(getattr(answers, name)) for name in ("ids", "domains", "labels", "predicted", "confidences")}
    if len(set(lengths.values())) != 1 or lengths["ids"] == 0:
        raise _wrong_answers("answers with " + ", ".join(f"{length} {name}" for name, length in lengths.items()) + ".")


def _check_values(answers: TestAnswers) -> None:
    values, counts = np.unique(answers.ids, return_counts=True)
    findings = [Finding(str(value), f"occurs {count} times") for value, count in zip(values[counts > 1], counts[counts > 1], strict=True)]
    # Written so that NaN is wrong, too.
    wrong = ~((answers.confidences >= 0) & (answers.confidences <= 1))
    findings += [Finding(str(answers.ids[row]), f"has the confidence {answers.confidences[row]}") for row in np.flatnonzero(wrong)]
    # An empty answer is a wrong one: a champion from before, whose samples had any number of labels, answers so.
    for name in ("ids", "domains", "labels") if answers.labels_per_sample == "one" else ("ids", "domains"):
        findings += [Finding(f"row {row + 1}", f"has no value in {name}") for row in np.flatnonzero(getattr(answers, name) == "")]
    if findings:
        raise _wrong_answers(f"answers with {len(findings)} wrong values, the first: {findings[0].where} {findings[0].problem}.", findings)


def _wrong_answers(got: str, findings: Any = ()) -> DataError:
    return DataError(
        got=got,
        allowed="at least one row of id (each once), domain, label, predicted and confidence (in [0, 1]).",
        next_step="evaluate the bundle again with `regraft evaluate`; the stage writes this file itself.",
        findings=tuple(findings)[:_MAX_FINDINGS],
    )
