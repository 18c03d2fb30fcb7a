"""Takes a person's corrections of labels from an edited audit table, checks all of them, and writes them into the labels table at once."""

from __future__ import annotations

import csv
import io
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipelines.config import ProjectConfig
from pipelines.core.errors import ConfigurationError, DataError, Finding
from pipelines.input_files import normal_path
from pipelines.label_rows import read_label
from pipelines.labels_edit import edited_table
from pipelines.labels_table import held_by_task, read_labels_table
from pipelines.staging import replace_file

DROP = "drop"
_NEEDED = ("path", "given_label", "new_label")
_MAX_SHOWN = 20


@dataclass(frozen=True)
class Correction:
    """What becomes of one sample.

    Attributes:
        path: Relative to `data/`.
        given_label: That the labels table has.
        new_label: None where the sample's row is taken out.
    """

    path: str
    given_label: str
    new_label: str | None


@dataclass(frozen=True)
class Corrections:
    """All of a file, checked.

    Attributes:
        changes: In the order of the file, each path once.
        n_already: Rows that ask for a label that the labels table has already.
    """

    changes: tuple[Correction, ...]
    n_already: int = 0

    @property
    def n_relabelled(self) -> int:
        """Samples that get another label."""
        return sum(change.new_label is not None for change in self.changes)

    @property
    def n_dropped(self) -> int:
        """Rows that are taken out."""
        return len(self.changes) - self.n_relabelled

    @property
    def summary(self) -> str:
        """For a commit message: `Correct labels: 3 changed (8 to 3: 2, 1 to 7: 1), 1 row dropped`."""
        moves = Counter((change.given_label, change.new_label) for change in self.changes if change.new_label is not None)
        listed = ", ".join(f"{old} to {new}: {n}" for (old, new), n in moves.most_common(_MAX_SHOWN))
        more = ", and more" if len(moves) > _MAX_SHOWN else ""
        changed = f"{self.n_relabelled} changed" + (f" ({listed}{more})" if moves else "")
        return f"Correct labels: {changed}, {self.n_dropped} {'row' if self.n_dropped == 1 else 'rows'} dropped"


@dataclass(frozen=True)
class _Row:
    where: str
    path: str
    given_label: str
    new_label: str
    action: str

    @property
    def asks(self) -> bool:
        return bool(self.new_label or self.action)


def read_corrections(file: Path, data_dir: Path, config: ProjectConfig) -> Corrections:
    """Reads an edited audit table and checks it against the labels table; rows without `new_label` and `action` are passed over.

    Args:
        file: CSV with the columns path, given_label and new_label, and maybe action, which is empty or `drop`; others are passed over.
        data_dir: With the labels table.
        config: Its `labels`, `labels_per_sample` and `data.labels_table` are used.

    Raises:
        ConfigurationError: There is no such file.
        DataError: It is no such table, or the labels table lists a file twice; or rows contradict the labels table, the conf file or each
            other: all of them are listed.
    """
    rows = [row for row in _read_rows(file) if row.asks]
    if not rows:
        return Corrections(())
    known = _known_labels(data_dir, config)
    changes: dict[str, Correction] = {}
    findings: list[Finding] = []
    n_already = 0
    for row in rows:
        change, problem = _checked(row, known, config)
        before = changes.get(change.path) if change else None
        if change and before and before != change:
            problem = f"{change.path} was given another correction in a row above"
        if problem:
            findings.append(Finding(row.where, problem))
        elif change is not None and change.new_label == known[change.path]:
            n_already += 1
        elif change is not None:
            changes[change.path] = change
    dropped = {path for path, change in changes.items() if change.new_label is None}
    if known and dropped >= known.keys():
        findings.append(Finding(file.name, "drops every row of the labels table"))
    if findings:
        raise _refused(file, findings)
    return Corrections(tuple(changes.values()), n_already)


def apply_corrections(corrections: Corrections, table: Path, staging: Path, name: str = "") -> None:
    """Writes the labels table in one step; the files of dropped rows stay in `data/`.

    Args:
        corrections: At least one change.
        table: The labels table.
        staging: Folder outside of the data, on the same file system.
        name: Of the table relative to `data/`; its file name where nothing is said.
    """
    changes = {change.path: change.new_label for change in corrections.changes}
    replace_file(table, edited_table(table, changes, name), staging)


def _read_rows(file: Path) -> Iterator[_Row]:
    columns, records = _read_csv(file)
    missing = [column for column in _NEEDED if column not in columns]
    twice = [column for column, n in Counter(columns).items() if n > 1]
    if missing or twice:
        fault = f"without the column {', '.join(missing)}" if missing else f"with the column {', '.join(twice)} twice"
        raise _no_table(f"{file.name} {fault}; it has {', '.join(map(repr, columns)) or 'no columns'}.")
    for line, cells in records:
        where = f"{file.name} line {line}"
        if len(cells) != len(columns):
            raise _no_table(f"{where} with {len(cells)} cells under a header of {len(columns)}.")
        row = dict(zip(columns, cells, strict=True))
        yield _Row(where, row["path"], row["given_label"], row["new_label"].strip(), row.get("action", "").strip())


def _read_csv(file: Path) -> tuple[list[str], list[tuple[int, list[str]]]]:
    if not file.is_file():
        raise ConfigurationError(
            got=f"no file at {file}.",
            allowed="the edited audit.csv of a run.",
            next_step="name it: `regraft retrain` says where its audit lies.",
        )
    try:
        reader = csv.reader(io.StringIO(file.read_bytes().decode("utf-8-sig"), newline=""), strict=True)
        lines = [(reader.line_num, cells) for cells in reader if cells]
    except (UnicodeDecodeError, csv.Error) as error:
        raise _no_table(f"{file.name}, which does not read as CSV in UTF-8: {error}.") from error
    return (lines[0][1] if lines else []), lines[1:]


def _known_labels(data_dir: Path, config: ProjectConfig) -> dict[str, str]:
    name = config.data.labels_table
    rows = read_labels_table(data_dir / name, holds=held_by_task(config.task), name=name).rows
    n_rows = Counter(normal_path(row.path) for row in rows)
    if twice := [path for path, n in n_rows.items() if n > 1]:
        raise DataError(
            got=f"a labels table that lists {twice[0]} {n_rows[twice[0]]} times.",
            allowed="each file once.",
            next_step="correct the table, and make it a version with `regraft data commit -m WHY`.",
            findings=[Finding(path, f"is listed {n_rows[path]} times") for path in twice],
        )
    return {normal_path(row.path): read_label(row.label, config.labels, config.labels_per_sample)[0] for row in rows}


def _checked(row: _Row, known: Mapping[str, str], config: ProjectConfig) -> tuple[Correction | None, str]:
    """The correction, or what is wrong with the row."""
    path = normal_path(row.path)
    if path not in known:
        return None, f"{path} is not in the labels table"
    if row.action not in ("", DROP):
        return None, f"the action {row.action!r} is neither empty nor {DROP}"
    if row.action and row.new_label:
        return None, f"has both the new label {row.new_label!r} and the action {DROP}"
    new, problem = (None, "") if row.action else read_label(row.new_label, config.labels, config.labels_per_sample)
    if problem:
        return None, f"the new label: {problem}"
    given, _ = read_label(row.given_label, config.labels, config.labels_per_sample)
    if known[path] not in (given, new):
        return None, f"{path} has the label {known[path]!r} by now, not {row.given_label!r}"
    return Correction(path, known[path], new), ""


def _no_table(got: str) -> DataError:
    return DataError(
        got=got,
        allowed=f"a CSV file with commas between cells and the columns {', '.join(_NEEDED)}, each once; action is optional.",
        next_step="edit a copy of a run's audit.csv, and save it as CSV in UTF-8; nothing was changed.",
    )


def _refused(file: Path, findings: Sequence[Finding]) -> DataError:
    return DataError(
        got=f"{file.name} with {len(findings)} {'row' if len(findings) == 1 else 'rows'} that cannot be carried out, the first: "
        f"{findings[0].where}: {findings[0].problem}.",
        allowed=f"paths and given labels as the labels table has them, new labels that the conf file lists, the action {DROP}.",
        next_step="correct or empty these rows, and run the command again; nothing was changed.",
        findings=findings,
    )
