"""A folder or a table of inputs through a sealed bundle, to a file of predictions: the same answers as the endpoint's.

One row for each input, in a fixed order. Columns: `path`, `label`, `confidence`, `bundle`, `problem`, of texts `unread_frac`, the share of
a text that was longer than the model reads, and `p(LABEL)` for each label in the bundle's order. An input that cannot be read or decoded
has a `problem` and nothing else: no input goes missing. The path of a text that stands in a table is the one that `pipelines.text_rows`
makes, and the text is not repeated. Letters for shapes: b samples, k labels.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import ConfigurationError, DataError
from pipelines.core.predict import TRUNCATED
from pipelines.image_files import IMAGE_SUFFIXES
from pipelines.modalities.audio_inputs import AUDIO_SUFFIXES
from pipelines.progress import Progress, silent
from pipelines.text_rows import TEXT_COLUMN, text_bytes
from pipelines.text_tables import TEXT_TABLE_SUFFIXES, read_text_table

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


@dataclass(frozen=True)
class _Kind:
    """What a bundle takes.

    Attributes:
        noun: Of one input.
        suffixes: Of files in a folder.
        tables: Endings of tables.
        column: Of a table: names of files, or the texts themselves.
    """

    noun: str
    suffixes: tuple[str, ...]
    tables: tuple[str, ...] = (".csv", ".parquet")
    column: str = "path"


# By the bundle's task.
_KINDS: Mapping[str, _Kind] = {
    "image": _Kind("image", IMAGE_SUFFIXES),
    "text": _Kind("text", (".txt",), TEXT_TABLE_SUFFIXES, TEXT_COLUMN),
    "audio": _Kind("sound", AUDIO_SUFFIXES),
}


@dataclass(frozen=True)
class _Input:
    """One input: a file, a text, or a row of a table that is neither."""

    path: str
    text: str | None = None
    problem: str = ""


@dataclass(frozen=True)
class _Inputs:
    root: Path
    inputs: list[_Input]


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
    found = _find(source, _KINDS[predictor.manifest.task])
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


def _rows(predictor: Predictor, root: Path, inputs: Sequence[_Input]) -> list[dict[str, Any]]:
    read = [_read(root, one) for one in inputs]
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


def _read(root: Path, one: _Input) -> bytes | str:
    if one.problem or one.text is not None:
        return one.problem or text_bytes(one.text or "")
    try:
        return (root / one.path).read_bytes()
    # A name with a null byte is a ValueError.
    except (OSError, ValueError) as error:
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"


def _find(source: Path, kind: _Kind) -> _Inputs:
    if source.is_dir():
        files = sorted(path for path in source.rglob("*") if path.suffix.lower() in kind.suffixes and path.is_file())
        found = _Inputs(source, [_Input(path.relative_to(source).as_posix()) for path in files])
    elif source.is_file() and source.suffix.lower() in kind.tables:
        found = _Inputs(source.parent, _of_table(source, kind))
    else:
        raise ConfigurationError(
            got=f"no folder and no table at {source}.",
            allowed=f"a folder of {kind.noun}s, or a table ({', '.join(kind.tables)}) with the column {kind.column}.",
            next_step="correct the path.",
        )
    if not found.inputs:
        raise DataError(
            got=f"{source}, which names no {kind.noun}.",
            allowed=f"at least one: {', '.join(kind.suffixes)}.",
            next_step=f"name the folder that holds the {kind.noun}s, or a table with the column {kind.column}.",
        )
    return found


def _of_table(table: Path, kind: _Kind) -> list[_Input]:
    if kind.column != TEXT_COLUMN:
        return [_Input(path) for path in _paths_of_table(table)]
    content = read_text_table(table, holds="unlabelled texts")
    unread = [_Input(finding.where, problem=finding.problem) for finding in content.findings]
    return [*(_Input(row.path, row.text) for row in content.rows), *unread]


def _paths_of_table(table: Path) -> list[str]:
    import pandas as pd

    try:
        content = pd.read_csv(table, dtype=str, keep_default_na=False) if table.suffix.lower() == ".csv" else pd.read_parquet(table)
    except (OSError, ValueError) as error:  # pyarrow's and pandas' own errors are ValueErrors
        raise DataError(
            got=f"the table {table}, which cannot be read: {error}.",
            allowed="CSV in UTF-8, or Parquet.",
            next_step="write the table again.",
        ) from error
    if "path" not in content.columns:
        raise DataError(
            got=f"the table {table} with the columns {', '.join(map(str, content.columns))}.",
            allowed="a column named path, with paths relative to the table's folder.",
            next_step="rename the column.",
        )
    return [str(path) for path in content["path"]]


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
