from __future__ import annotations

import datetime
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.core.errors import DataError
from pipelines.labels_table import read_labels_table
from tests.pipelines.planted import as_csv

cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)


def written(folder: Path, content: bytes, name: str = "labels.csv") -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


@settings(max_examples=60)
@given(rows=st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=6), mark=st.booleans())
def test_any_cell_survives(tmp_path_factory: pytest.TempPathFactory, rows: list[tuple[str, str, str]], mark: bool) -> None:
    content = as_csv([("path", "label", "group"), *rows])
    table = read_labels_table(written(tmp_path_factory.mktemp("table"), (b"\xef\xbb\xbf" if mark else b"") + content))
    assert [(row.path, row.label, row.group) for row in table.rows] == rows


def test_labels_that_look_like_something_else_stay_text(tmp_path: Path) -> None:
    table = read_labels_table(written(tmp_path, b"path,label\na,007\nb,NA\nc,None\nd,1.50\ne,true\n"))
    assert [row.label for row in table.rows] == ["007", "NA", "None", "1.50", "true"]


def test_rows_are_named_by_their_line(tmp_path: Path) -> None:
    table = read_labels_table(written(tmp_path, b'path,label\r\n"a\r\nb",x\r\n\r\nc,y\r\n'))
    assert [row.where for row in table.rows] == ["labels.csv line 2", "labels.csv line 5"]


def test_rows_of_another_length_are_findings(tmp_path: Path) -> None:
    table = read_labels_table(written(tmp_path, b"path,label\na,x\nb,y,z\nc\n"))
    assert [row.path for row in table.rows] == ["a"]
    assert [(item.where, item.problem) for item in table.findings] == [
        ("labels.csv line 3", "has 3 cells, the header has 2; put double quotes around a cell with a comma"),
        ("labels.csv line 4", "has 1 cells, the header has 2"),
    ]


def test_unknown_columns_are_named(tmp_path: Path) -> None:
    assert read_labels_table(written(tmp_path, b"path,label,notes,split\na,x,,\n")).unknown_columns == ("notes",)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"without the column path, label; it has no columns\."),
        (b"path,label\n", r"without a single row"),
        (b"path;label\na;x\n", r"without the column path, label; it has 'path;label'\. Allowed: comma-separated"),
        (b"path,label,label\na,x,y\n", r"with the column 'label' twice"),
        ("path,label\nä,x\n".encode("latin-1"), r"byte 11 is not UTF-8.*save the file in UTF-8; spreadsheets call it CSV UTF-8"),
        (b'path,label\n"a,x\n', r"does not parse as CSV: unexpected end of data"),
    ],
)
def test_structural_faults(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(DataError, match=message):
        read_labels_table(written(tmp_path, content))


def test_missing_table_names_those_that_are_there(tmp_path: Path) -> None:
    written(tmp_path, b"path,label\na,x\n", "annotations.csv")
    with pytest.raises(DataError, match=r"no labels table at .*labels\.csv\. The folder holds annotations\.csv.*dvc checkout"):
        read_labels_table(tmp_path / "labels.csv")


def test_other_formats_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"labels\.xlsx.*a \.csv or \.parquet file"):
        read_labels_table(written(tmp_path, b"x", "labels.xlsx"))


def test_parquet_values_become_text(tmp_path: Path) -> None:
    columns = {
        "path": ["a", "b"],
        "label": [7, 8],
        "arrival": [datetime.date(2026, 11, 20), None],
        "group": pyarrow.array(["g", "h"]).dictionary_encode(),
    }
    pyarrow.parquet.write_table(pyarrow.table(columns), tmp_path / "labels.parquet")
    rows = read_labels_table(tmp_path / "labels.parquet").rows
    assert [(row.where, row.label, row.arrival, row.group) for row in rows] == [
        ("labels.parquet row 1", "7", "2026-11-20", "g"),
        ("labels.parquet row 2", "8", "", "h"),
    ]


def test_damaged_parquet(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"does not read as Parquet"):
        read_labels_table(written(tmp_path, b"PAR1 nonsense", "labels.parquet"))
