"""Stage `manifest`: reads the labels table and every file once, and writes down what is there and what is wrong with it.

    samples.csv    the columns of `pipelines.dataset`, `slice:NAME` for each of `data.slices` among them; `split` holds what the team has
                   fixed itself, else nothing
    images.csv     id, path, width_px, height_px, mode, n_bytes, pixel_digest; one row for each of samples.csv, in its order
    texts.csv      in place of images.csv where samples are texts: see `pipelines.modalities.inspection`
    problems.csv   where, problem, kind; all of them from one pass

A file, or a text, that cannot be used is a problem and no sample. A sample with a wrong label, split or twin is both.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import pandas as pd

from pipelines.config import ProjectConfig
from pipelines.dataset import DEFAULT_DOMAIN, SAMPLE_COLUMNS, SLICE_PREFIX, with_slice_prefix
from pipelines.input_files import Unusable, normal_path
from pipelines.label_rows import Problem, split_problems, usable_rows, with_read_labels
from pipelines.labels_table import LabelRow, LabelsTable, held_by_task, known_columns, read_labels_table, refuse_missing_slices
from pipelines.modalities.inspection import INPUTS, InputFile, InputsTable, as_row, content_digest, inspect_inputs

SAMPLES, PROBLEMS = "samples.csv", "problems.csv"
PROBLEM_COLUMNS = ("where", "problem", "kind")


def build_manifest(data_dir: Path, config: ProjectConfig, out: Path) -> None:
    """Reads the dataset and writes samples.csv, images.csv (or texts.csv) and problems.csv into `out`.

    Raises:
        DataError: The labels table is missing, is not UTF-8, lacks a column (one of `data.slices`, too) or has no rows. Everything else is
            a row of problems.csv.
    """
    name = config.data.labels_table
    table = read_labels_table(data_dir / name, config.data.slices, held_by_task(config.task), name)
    refuse_missing_slices(table, config.data.slices, config.data.labels_table)
    problems = _notes(table, config.data.labels_table) + [Problem(item.where, item.problem, "row") for item in table.findings]
    rows, row_problems = usable_rows(table.rows)
    rows, label_problems = with_read_labels(rows, config.labels, config.labels_per_sample)
    listed = INPUTS[config.task]
    files = inspect_inputs(config.task, data_dir, rows)
    pairs = [(row, file) for row, file in zip(rows, files, strict=True) if not isinstance(file, Unusable)]
    unusable = [(row, file) for row, file in zip(rows, files, strict=True) if isinstance(file, Unusable)]
    problems += row_problems + [Problem(normal_path(row.path), file.problem, "file") for row, file in unusable]
    problems += label_problems + split_problems(rows) + _twin_problems(pairs, listed)
    columns = [*SAMPLE_COLUMNS, *(SLICE_PREFIX + name for name in config.data.slices)]
    _write(out / SAMPLES, columns, [_sample(row, file) for row, file in pairs])
    _write(out / listed.file, ("id", "path", *listed.columns), [as_row(file, normal_path(row.path), listed) for row, file in pairs])
    _write(out / PROBLEMS, PROBLEM_COLUMNS, [asdict(problem) for problem in problems])


def read_problems(manifest: Path) -> list[Problem]:
    """Reads the problems of a manifest."""
    table = pd.read_csv(manifest / PROBLEMS, dtype=str, keep_default_na=False)
    return [Problem(*row) for row in table[list(PROBLEM_COLUMNS)].itertuples(index=False)]


def _write(path: Path, columns: Sequence[str], rows: list[dict[str, object]]) -> None:
    pd.DataFrame(rows, columns=list(columns)).to_csv(path, index=False, lineterminator="\n")


def _sample(row: LabelRow, file: InputFile) -> dict[str, object]:
    optional = {"group": row.group or file.id, "domain": row.domain or DEFAULT_DOMAIN, "arrival": row.arrival, "split": row.split}
    return {"id": file.id, "path": normal_path(row.path), "label": row.label, **optional, **with_slice_prefix(row.slices)}


def _notes(table: LabelsTable, name: str) -> list[Problem]:
    known = ", ".join(known_columns(table.holds))
    return [Problem(name, f"the column {column!r} is not used; Regraft knows {known}", "note") for column in table.unknown_columns]


def _twin_problems(pairs: Sequence[tuple[LabelRow, InputFile]], listed: InputsTable) -> list[Problem]:
    """The same input under two labels: neither can be learnt from nor judged by."""
    paths: dict[str, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for row, file in pairs:
        paths[content_digest(file)][row.label].append(normal_path(row.path))
    torn = {digest: by_label for digest, by_label in paths.items() if len(by_label) > 1}
    return [
        Problem(normal_path(row.path), _twin_problem(row.label, torn[content_digest(file)], listed.noun), "twin")
        for row, file in pairs
        if content_digest(file) in torn
    ]


def _twin_problem(label: str, paths_by_label: Mapping[str, Sequence[str]], noun: str) -> str:
    others = [f"{paths[0]} (labelled {other!r})" for other, paths in paths_by_label.items() if other != label]
    return f"labelled {label!r} and the same {noun} as {', '.join(others)}"
