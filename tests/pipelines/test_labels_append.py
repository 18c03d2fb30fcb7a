from __future__ import annotations

import csv
import io
import os
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.labels_append import append_rows
from pipelines.labels_table import read_labels_table
from tests.pipelines.planted import names_in

cell = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=8)
NEW = {"path": "new, ü.png", "label": "bee", "group": "", "domain": "lab", "arrival": "2026-11-20", "split": ""}


def appended(folder: Path, content: bytes, rows: list[dict[str, str]]) -> bytes:
    table = folder / "labels.csv"
    table.write_bytes(content)
    append_rows(table, read_labels_table(table).columns, rows, folder / ".." / "staging")
    assert names_in(folder) == ["labels.csv"]
    return table.read_bytes()


@pytest.mark.parametrize(
    ("before", "added"),
    [
        (b"path,label,domain,arrival\na.png,ant,x,\n", '"new, ü.png",bee,lab,2026-11-20\n'),
        (b"path,label,domain,arrival\r\na.png,ant,x,\r\n", '"new, ü.png",bee,lab,2026-11-20\r\n'),
        (b"path,label,domain,arrival\na.png,ant,x,", '\n"new, ü.png",bee,lab,2026-11-20\n'),
        (b"\xef\xbb\xbflabel,weather,arrival,domain,path\nant,'sun',,x,a.png\n", 'bee,,2026-11-20,lab,"new, ü.png"\n'),
    ],
)
def test_what_is_there_stays_byte_for_byte(tmp_path: Path, before: bytes, added: str) -> None:
    assert appended(tmp_path, before, [NEW]) == before + added.encode()


def test_columns_are_added_where_rows_need_them(tmp_path: Path) -> None:
    after = appended(tmp_path, b'\xef\xbb\xbfpath,label\r\n"a, b.png",ant\r\n\r\nc.png,bee\r\n', [NEW])
    lines = ['"a, b.png",ant,,', "c.png,bee,,", '"new, ü.png",bee,lab,2026-11-20']
    assert after == b"\xef\xbb\xbf" + "\r\n".join(["path,label,domain,arrival", *lines, ""]).encode()


def test_the_default_domain_needs_no_column(tmp_path: Path) -> None:
    assert appended(tmp_path, b"path,label\na.png,ant\n", [{**NEW, "domain": "default", "arrival": ""}]).startswith(
        b"path,label\na.png,ant\n"
    )


@settings(max_examples=50)
@given(old=st.lists(st.tuples(cell, cell), min_size=1, max_size=4), new=st.lists(st.tuples(cell, cell, cell), min_size=1, max_size=3))
def test_every_cell_survives(tmp_path_factory: pytest.TempPathFactory, old: list[tuple[str, str]], new: list[tuple[str, str, str]]) -> None:
    table = tmp_path_factory.mktemp("append") / "labels.csv"
    text = io.StringIO(newline="")
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([("path", "label"), *old])
    table.write_bytes(text.getvalue().encode())
    append_rows(
        table, ["path", "label"], [{"path": path, "label": label, "group": group} for path, label, group in new], table.parent / "staging"
    )
    rows = [(row.path, row.label, row.group) for row in read_labels_table(table).rows]
    assert rows == [(path, label, "") for path, label in old] + new


def test_parquet_keeps_its_types(tmp_path: Path) -> None:
    table = tmp_path / "labels.parquet"
    columns = {"path": ["a"], "label": pyarrow.array([7]), "group": pyarrow.array(["g"]).dictionary_encode(), "weight": [0.5]}
    pyarrow.parquet.write_table(pyarrow.table(columns), table)
    append_rows(table, list(columns), [{**NEW, "label": "8"}], tmp_path / "staging")
    content = pyarrow.parquet.ParquetFile(table).read()
    assert content.column_names == ["path", "label", "group", "weight", "domain", "arrival"]
    assert content.schema.field("label").type == pyarrow.int64()
    assert content.to_pylist() == [
        {"path": "a", "label": 7, "group": "g", "weight": 0.5, "domain": None, "arrival": None},
        {"path": "new, ü.png", "label": 8, "group": None, "weight": None, "domain": "lab", "arrival": "2026-11-20"},
    ]
    assert [row.domain for row in read_labels_table(table).rows] == ["", "lab"]


def test_a_table_that_shares_its_bytes_with_a_cache_leaves_the_cache_alone(tmp_path: Path) -> None:
    """DVC may link its cache into the data: the table is replaced, never written into."""
    (tmp_path / "cache").write_bytes(b"path,label\na.png,ant\n")
    (tmp_path / "cache").chmod(0o444)
    (tmp_path / "data").mkdir()
    os.link(tmp_path / "cache", tmp_path / "data" / "labels.csv")
    append_rows(tmp_path / "data" / "labels.csv", ["path", "label"], [NEW], tmp_path / "staging")
    assert (tmp_path / "cache").read_bytes() == b"path,label\na.png,ant\n"
    assert len(read_labels_table(tmp_path / "data" / "labels.csv").rows) == 2
