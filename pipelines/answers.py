"""What one bundle answered for the test samples: two files of an evaluation, which the gates read.

    predictions.csv              id (of the sample), domain, label (the true one), predicted, confidence (probability that the prediction is
                                 right), and slice:NAME for each of data.slices
    probabilities.safetensors    probabilities, float64 [n, l] in the order of predictions.csv; names and kind of the labels in its metadata

Where a sample has any number of labels, `label` and `predicted` are texts of sets (`pipelines.core.label_sets`), and may be empty.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from pipelines.core.errors import DataError, Finding
from pipelines.core.label_sets import LabelsPerSample
from pipelines.dataset import SLICE_PREFIX, slice_columns

PREDICTIONS, PROBABILITIES = "predictions.csv", "probabilities.safetensors"
_COLUMNS = ["id", "domain", "label", "predicted", "confidence"]
_MAX_FINDINGS = 100
# Of a row's sum; a softmax in float64 is nearer by far.
_SUM_TOLERANCE = 1e-6


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
        exclusive: Whether the bundle's labels exclude each other, so that each row of `probabilities` sums to 1. That of a champion of
            another time may differ from `labels_per_sample`.

    Raises:
        DataError: There are no samples, the lengths differ, an id occurs twice, or a confidence or probability is none.
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
    exclusive: bool = True

    def __post_init__(self) -> None:
        _check_lengths(self)
        _check_values(self)
        if self.probabilities is not None:
            _check_probabilities(self.probabilities, self)

    @property
    def correct(self) -> NDArray[np.bool_]:
        """[n]: whether the predicted label, or the whole predicted set, is the true one."""
        return np.asarray(self.predicted == self.labels)

    @property
    def n(self) -> int:
        """Samples."""
        return len(self.ids)


def write_answers(answers: TestAnswers, path: Path) -> None:
    """Writes answers as CSV, in the given order, and their probabilities beside it; all numbers survive a round trip exactly."""
    import pandas as pd

    table = pd.DataFrame(
        {
            "id": answers.ids,
            "domain": answers.domains,
            "label": answers.labels,
            "predicted": answers.predicted,
            "confidence": [repr(float(value)) for value in answers.confidences],
            **{SLICE_PREFIX + name: values for name, values in answers.slices.items()},
        }
    )
    table.to_csv(path, index=False, lineterminator="\n")
    if answers.probabilities is not None:
        _write_probabilities(answers, answers.probabilities, path.with_name(PROBABILITIES))


def _write_probabilities(answers: TestAnswers, probabilities: NDArray[np.float64], path: Path) -> None:
    from safetensors.numpy import save_file

    # One entry: the order of several is not the same every time.
    about = json.dumps({"label_names": answers.label_names, "exclusive": answers.exclusive})
    save_file({"probabilities": np.ascontiguousarray(probabilities, dtype=np.float64)}, path, metadata={"labels": about})


def read_answers(path: Path, labels_per_sample: LabelsPerSample = "one") -> TestAnswers:
    """Reads answers that `write_answers` wrote; those of an older evaluation have neither slices nor probabilities.

    Args:
        path: The file `predictions.csv`; its probabilities are looked for beside it.
        labels_per_sample: Of the project.

    Raises:
        DataError: A file is missing or not what it should be, or its values are wrong; lists the bad rows.
    """
    import pandas as pd

    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (OSError, UnicodeDecodeError, pd.errors.ParserError, pd.errors.EmptyDataError) as error:
        raise _wrong_answers(f"{path} that cannot be read: {error}.") from error
    further = slice_columns(table.columns)
    if list(table.columns) != [*_COLUMNS, *further]:
        raise _wrong_answers(f"{path} with the columns {', '.join(table.columns)}.")
    texts = {name: table[name].to_numpy(dtype=np.str_) for name in table.columns}
    probabilities, about = _read_probabilities(path.with_name(PROBABILITIES))
    return TestAnswers(
        ids=texts["id"],
        domains=texts["domain"],
        labels=texts["label"],
        predicted=texts["predicted"],
        confidences=_as_numbers(texts["confidence"], path),
        labels_per_sample=labels_per_sample,
        slices={name.removeprefix(SLICE_PREFIX): texts[name] for name in further},
        probabilities=probabilities,
        label_names=tuple(about["label_names"]),
        exclusive=about["exclusive"],
    )


def _read_probabilities(path: Path) -> tuple[NDArray[np.float64] | None, dict[str, Any]]:
    from safetensors import SafetensorError, safe_open

    if not path.exists():
        return None, {"label_names": (), "exclusive": True}
    try:
        with safe_open(path, framework="numpy") as file:
            return file.get_tensor("probabilities"), json.loads(file.metadata()["labels"])
    except (OSError, SafetensorError, KeyError, TypeError, ValueError) as error:
        raise _wrong_answers(f"{path} that is no file of probabilities: {error}.") from error


def _as_numbers(texts: NDArray[np.str_], path: Path) -> NDArray[np.float64]:
    try:
        return texts.astype(np.float64)
    except ValueError as error:
        raise _wrong_answers(f"{path} with a confidence that is no number: {error}.") from error


def _check_lengths(answers: TestAnswers) -> None:
    lengths = {name: len(getattr(answers, name)) for name in ("ids", "domains", "labels", "predicted", "confidences")}
    lengths |= {f"values of the column {name}": len(values) for name, values in answers.slices.items()}
    lengths |= {} if answers.probabilities is None else {"rows of probabilities": len(answers.probabilities)}
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


def _check_probabilities(probabilities: NDArray[np.float64], answers: TestAnswers) -> None:
    n_names = len(set(answers.label_names))
    if probabilities.ndim != 2 or probabilities.shape[1] != n_names or n_names != len(answers.label_names):
        raise _wrong_answers(f"probabilities of the shape {list(probabilities.shape)} for {n_names} different label names.")
    # Written so that NaN is wrong, too.
    right = ((probabilities >= 0) & (probabilities <= 1)).all(axis=1)
    if answers.exclusive:
        right &= np.abs(probabilities.sum(axis=1) - 1) <= _SUM_TOLERANCE
    findings = [Finding(str(answers.ids[row]), f"has the probabilities {probabilities[row].tolist()}") for row in np.flatnonzero(~right)]
    if findings:
        rule = "in [0, 1]" + (", and 1 together" if answers.exclusive else "")
        raise _wrong_answers(f"{len(findings)} rows of probabilities that are not {rule}; the first: {findings[0].where}.", findings)


def _wrong_answers(got: str, findings: Any = ()) -> DataError:
    return DataError(
        got=got,
        allowed="at least one row of id (each once), domain, label, predicted and confidence (in [0, 1]).",
        next_step="evaluate the bundle again with `regraft evaluate`; the stage writes this file itself.",
        findings=tuple(findings)[:_MAX_FINDINGS],
    )
