"""A folder or a table of images through a sealed bundle, to a file of predictions: the same answers as the endpoint's.

One row for each input, in a fixed order. Columns: `path`, `label`, `confidence`, `bundle`, `problem`, and `p(LABEL)` for each label in
the bundle's order. An image that cannot be read or decoded has a `problem` and nothing else: no input goes missing. Letters for shapes:
b samples, k labels.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pipelines.core.errors import ConfigurationError, DataError
from pipelines.image_files import IMAGE_SUFFIXES
from pipelines.progress import Progress, silent

if TYPE_CHECKING:
    import pyarrow as pa

    from pipelines.core.predict import Predictor

_BATCH_SIZE = 64
_OUT_SUFFIXES = (".csv", ".parquet")
_TABLE_SUFFIXES = (".csv", ".parquet")
_ACTIVITY = "predict"


@dataclass(frozen=True)
class BatchSummary:
    """What came of a batch.

    Attributes:
        out: The file of predictions.
        bundle: That gave them.
        n_predicted: Inputs with an answer.
        n_problems: Inputs without one.
        n_by_label: How often each label was the answer; labels that never were are left out.
    """

    out: Path
    bundle: str
    n_predicted: int
    n_problems: int
    n_by_label: dict[str, int]

    def as_json(self) -> dict[str, Any]:
        """For machines."""
        return {**vars(self), "out": str(self.out)}


@dataclass(frozen=True)
class _Inputs:
    root: Path
    paths: list[str]


def predict_files(predictor: Predictor, source: Path, out: Path, progress: Progress = silent) -> BatchSummary:
    """Predicts every image of a source and writes the file in one step: it is there whole, or as it was before.

    Memory does not grow with the number of inputs: 64 images are read at a time.

    Args:
        predictor: The loaded bundle.
        source: A folder, searched with its subfolders, or a CSV or Parquet table with the column `path`, relative to the table's folder.
        out: A `.csv` or `.parquet` file in a folder that is there; an earlier one is replaced.
        progress: Told the inputs done, of all.

    Raises:
        ConfigurationError: No such source, or a file that cannot be written there.
        DataError: The source names no image, or the table has no column `path`.
    """
    import pyarrow as pa

    _check_out(out)
    inputs = _find(source)
    schema, counts = _schema(predictor.manifest.labels), Counter[str]()
    with tempfile.TemporaryDirectory(prefix=f".{out.name}-", dir=out.parent) as folder:
        staging = Path(folder) / out.name
        with _writer(staging, schema) as writer:
            for start in range(0, len(inputs.paths), _BATCH_SIZE):
                rows = _rows(predictor, inputs.root, inputs.paths[start : start + _BATCH_SIZE])
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
                counts.update(row["label"] for row in rows if "label" in row)
                progress(_ACTIVITY, start + len(rows), len(inputs.paths))
        staging.replace(out)
    n_predicted = counts.total()
    return BatchSummary(out, predictor.bundle, n_predicted, len(inputs.paths) - n_predicted, dict(sorted(counts.items())))


def _rows(predictor: Predictor, root: Path, paths: Sequence[str]) -> list[dict[str, Any]]:
    read = [_read(root / path) for path in paths]
    usable = [index for index, content in enumerate(read) if isinstance(content, bytes)]
    answers = _answers(predictor, [read[index] for index in usable])  # type: ignore[misc]
    by_index = dict(zip(usable, answers, strict=True))
    rows = []
    for index, path in enumerate(paths):
        answer = by_index.get(index, read[index])
        given = answer if isinstance(answer, dict) else {"problem": answer}
        rows.append({"path": path, "bundle": predictor.bundle, "problem": "", **given})
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
    return [
        {"label": label, "confidence": float(sure), **dict(zip(names, row, strict=True))}
        for label, sure, row in zip(answered.labels, answered.confidences, probabilities, strict=True)
    ]


def _read(path: Path) -> bytes | str:
    try:
        return path.read_bytes()
    # A name with a null byte is a ValueError.
    except (OSError, ValueError) as error:
        return f"cannot be read ({getattr(error, 'strerror', None) or error})"


def _find(source: Path) -> _Inputs:
    if source.is_dir():
        found = sorted(path for path in source.rglob("*") if path.suffix.lower() in IMAGE_SUFFIXES and path.is_file())
        inputs = _Inputs(source, [path.relative_to(source).as_posix() for path in found])
    elif source.is_file() and source.suffix.lower() in _TABLE_SUFFIXES:
        inputs = _Inputs(source.parent, _paths_of_table(source))
    else:
        raise ConfigurationError(
            got=f"no folder and no table at {source}.",
            allowed="a folder of images, or a .csv or .parquet table with the column path.",
            next_step="correct the path.",
        )
    if not inputs.paths:
        raise DataError(
            got=f"{source}, which names no image.",
            allowed=f"at least one: {', '.join(IMAGE_SUFFIXES)}.",
            next_step="name the folder that holds the images.",
        )
    return inputs


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


def _check_out(out: Path) -> None:
    if out.suffix.lower() not in _OUT_SUFFIXES or out.is_dir() or not out.parent.is_dir():
        raise ConfigurationError(
            got=f"{out} as the file of predictions.",
            allowed=f"a file that ends in {' or '.join(_OUT_SUFFIXES)}, in a folder that is there.",
            next_step="name such a file; make its folder first.",
        )


def _schema(labels: Sequence[str]) -> pa.Schema:
    import pyarrow as pa

    numbers = ["confidence", *(f"p({label})" for label in labels)]
    order = ["path", "label", "confidence", "bundle", "problem", *numbers[1:]]
    return pa.schema([(name, pa.float64() if name in numbers else pa.string()) for name in order])


def _writer(path: Path, schema: pa.Schema) -> Any:
    """Of Arrow: a context manager with `write_table`, one for both kinds of file."""
    if path.suffix.lower() == ".csv":
        from pyarrow.csv import CSVWriter

        return CSVWriter(path, schema)
    from pyarrow.parquet import ParquetWriter

    return ParquetWriter(path, schema)
