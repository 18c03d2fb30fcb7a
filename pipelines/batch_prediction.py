"""A folder or a table of inputs through a sealed bundle, to a file of predictions: the same answers as the endpoint's.

One row for each input, in a fixed order. Columns: `path`, `label`, `confidence`, `bundle`, `problem`, of texts `unread_frac`, the share of
a text that was longer than the model reads, and `p(LABEL)` for each label in the bundle's order. An input that cannot be read or decoded
has a `problem` and nothing else: no input goes missing. The path of a text that stands in a table is the one that `pipelines.text_rows`
makes, and the text is not repeated. Letters for shapes: b samples, k labels.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import ConfigurationError, DataError
from pipelines.core.predict import TRUNCATED
from pipelines.input_source import OneInput, find_inputs, read_input
from pipelines.progress import Progress, silent

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.core.predict import Predictor

_BATCH_SIZE = 64
_OUT_SUFFIXES = (".csv", ".parquet")
_ACTIVITY = "predict"
# The column of the share of an input that the model did not see.
UNREAD = "unread_frac"


@dataclass(frozen=True)
class BatchSummary:
    """What came of a batch.

    Attributes:
        out: The file of predictions.
        bundle: That gave them.
        n_predicted: Inputs with an answer.
        n_problems: Inputs without one.
        n_truncated: Of those with an answer, inputs that are longer than the model reads.
        n_by_label: How often each label was the answer; labels that never were are left out.
    """

    out: Path
    bundle: str
    n_predicted: int
    n_problems: int
    n_truncated: int
    n_by_label: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {**vars(self), "out": str(self.out)}

    @property
    def in_words(self) -> str:
        """What became of the inputs, for people."""
        unread = f"; {self.n_problems} could not be read (column problem)" if self.n_problems else ""
        cut = f"; {self.n_truncated} were longer than the model reads (column {UNREAD})" if self.n_truncated else ""
        return f"{self.n_predicted} predicted by bundle {self.bundle}{unread}{cut}"


def predict_files(predictor: Predictor, source: Path, out: Path, progress: Progress = silent) -> BatchSummary:
    """Predicts every input of a source and writes the file in one step: it is there whole, or as it was before.

    Memory does not grow with the number of files: 64 are read at a time. A table of texts is held whole.

    Args:
        predictor: The loaded bundle.
        source: A folder, searched with its subfolders for what the bundle takes: images, sounds, or texts as `.txt` files. Or a table:
            CSV or Parquet with the column `path`, relative to the table's folder; of texts CSV, TSV, Parquet or JSONL with `text`.
        out: A `.csv` or `.parquet` file in a folder that is there; an earlier one is replaced.
        progress: Told the inputs done, of all.

    Raises:
        ConfigurationError: No such source, or a file that cannot be written there.
        DataError: The source names no input, or the table has no such column.
    """
    import pyarrow as pa

    _check_out(out, source)
    found = find_inputs(source, predictor.manifest.task)
    n_inputs = len(found.inputs)
    schema, counts, n_truncated = _schema(predictor), Counter[str](), 0
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        staging = Path(folder) / out.name
        with _writer(staging, schema) as writer:
            for start in range(0, n_inputs, _BATCH_SIZE):
                rows = _rows(predictor, found.root, found.inputs[start : start + _BATCH_SIZE])
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                counts.update(row["label"] for row in rows if "label" in row)
                n_truncated += sum(row.get(UNREAD, 0) > 0 for row in rows)
                progress(_ACTIVITY, start + len(rows), n_inputs)
        staging.replace(out)
    n_predicted = counts.total()
    return BatchSummary(out, predictor.bundle, n_predicted, n_inputs - n_predicted, n_truncated, dict(sorted(counts.items())))


def _rows(predictor: Predictor, root: Path, inputs: Sequence[OneInput]) -> list[dict[str, Any]]:
    read = [read_input(root, one) for one in inputs]
    usable = [index for index, content in enumerate(read) if isinstance(content, bytes)]
    answers = _answers(predictor, [read[index] for index in usable])  # type: ignore[misc]
    by_index = dict(zip(usable, answers, strict=True))
    rows = []
    for index, one in enumerate(inputs):
        answer = by_index.get(index, read[index])
        given = answer if isinstance(answer, dict) else {"problem": answer}
        rows.append({"path": one.path, "bundle": predictor.bundle, "problem": "", **given})
    return rows


def _answers(predictor: Predictor, samples: list[bytes]) -> list[dict[str, Any] | str]:
    """An answer for each, or what is wrong with it. One sample that does not decode fails its whole batch, so they are asked one by one."""
    if not samples:
        return []
    try:
        answered = predictor.predict(samples)
    except DataError as error:
        if len(samples) == 1:
            return [error.got.rstrip(".")]
        return [answer for sample in samples for answer in _answers(predictor, [sample])]
    probabilities = answered.probabilities.tolist()
    names = [f"p({label})" for label in predictor.manifest.labels]
    unread = predictor.unread_fracs(answered)
    cut = [{}] * len(samples) if unread is None else [{UNREAD: float(frac)} for frac in unread]
    return [
        {"label": label, "confidence": float(sure), **one, **dict(zip(names, row, strict=True))}
        for label, sure, one, row in zip(answered.labels, answered.confidences, cut, probabilities, strict=True)
    ]


def _check_out(out: Path, source: Path) -> None:
    if out.exists() and source.exists() and out.samefile(source):
        raise ConfigurationError(
            got=f"{out} as the file of predictions, which holds the inputs.",
            allowed="another file than the source.",
            next_step="name another file with --out; nothing was written.",
        )
    if out.suffix.lower() not in _OUT_SUFFIXES or out.is_dir() or not out.parent.is_dir():
        raise ConfigurationError(
            got=f"{out} as the file of predictions.",
            allowed=f"a file that ends in {' or '.join(_OUT_SUFFIXES)}, in a folder that is there.",
            next_step="name such a file; make its folder first.",
        )


def _schema(predictor: Predictor) -> pa.Schema:
    import pyarrow as pa

    further = [UNREAD] if TRUNCATED in predictor.modality.statistics else []
    numbers = ["confidence", *further, *(f"p({label})" for label in predictor.manifest.labels)]
    order = ["path", "label", "confidence", "bundle", "problem", *numbers[1:]]
    return pa.schema([(name, pa.float64() if name in numbers else pa.string()) for name in order])


def _writer(path: Path, schema: pa.Schema) -> Any:
    """Of Arrow: a context manager with `write_table`, one for both kinds of file."""
    if path.suffix.lower() == ".csv":
        from pyarrow.csv import CSVWriter

        return CSVWriter(path, schema)
    from pyarrow.parquet import ParquetWriter

    return ParquetWriter(path, schema)
