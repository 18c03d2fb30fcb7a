from __future__ import annotations

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines import table_files
from pipelines.core.errors import DataError
from pipelines.table_files import csv_lines, file_text, jsonl_lines, parquet_columns, parquet_records, tsv_lines


def written(place: Path, content: bytes) -> Path:
    place.write_bytes(content)
    return place


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    assert file_text(written(tmp_path / "a.txt", "\ufeffé\u2028 \r\n".encode())) == "é\u2028 \r\n"
    with pytest.raises(DataError, match=r"a\.txt, whose byte 1 is not UTF-8\..*save the file in UTF-8"):
        file_text(written(tmp_path / "a.txt", b"x\xff"))


def test_lines_of_csv_have_the_numbers_that_an_editor_shows(tmp_path: Path) -> None:
    columns, lines = csv_lines(written(tmp_path / "a.csv", b'\r\na,b\r\n"1\r\n2",x\r\n\r\n3,y,z\r\n4\r\n'))
    assert columns == ["a", "b"]
    assert list(lines) == [
        (3, {"a": "1\r\n2", "b": "x"}),
        (6, "has 3 cells, the header has 2; put double quotes around a cell with a comma"),
        (7, "has 1 cells, the header has 2"),
    ]


def test_quotes_of_tsv_are_quotes(tmp_path: Path) -> None:
    columns, lines = tsv_lines(written(tmp_path / "a.tsv", b'a\tb\n"1\t2"\n\n1\t2\t3\n'))
    assert columns == ["a", "b"]
    assert list(lines) == [(2, {"a": '"1', "b": '2"'}), (4, "has 3 cells, the header has 2")]


def test_lines_that_do_not_parse_are_said_when_they_are_reached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    columns, lines = csv_lines(written(tmp_path / "a.csv", b'a\n1\n"2'))
    assert (columns, next(lines)) == (["a"], (2, {"a": "1"}))
    with pytest.raises(DataError, match=r"a\.csv, which does not parse as CSV: unexpected end of data\. Allowed: comma-separated"):
        next(lines)
    before = csv.field_size_limit()
    monkeypatch.setattr(table_files, "_MOST_CELL_CHARACTERS", 3)
    _, long = tsv_lines(written(tmp_path / "a.tsv", b"a\nfour\n"))
    with pytest.raises(
        DataError, match=r"a\.tsv, which does not parse as TSV: field larger than field limit \(3\)\. Allowed: cells between tabs"
    ):
        next(long)
    csv.field_size_limit(before)


@pytest.mark.parametrize("read", [csv_lines, tsv_lines, jsonl_lines])
def test_a_file_without_anything_has_no_columns(tmp_path: Path, read: object) -> None:
    assert callable(read)
    columns, lines = read(written(tmp_path / "a", b""))
    assert (columns, list(lines)) == ([], [])


def test_objects_of_jsonl(tmp_path: Path) -> None:
    content = ['{"a": "x\u2028y"}', "", "[1]", "{", "[" * 100_000, json.dumps({"b": [1], "\ud800": None})]
    columns, lines = jsonl_lines(written(tmp_path / "a.jsonl", "\n".join(content).encode()))
    assert columns == ["a", "b"]
    bad = "is no JSON object"
    assert lines == [(1, {"a": "x\u2028y"}), (3, bad), (4, bad), (5, bad), (6, {"b": [1], "\ud800": None})]


def test_of_parquet_only_the_columns_asked_for_are_read(tmp_path: Path) -> None:
    half = pa.Array.from_buffers(pa.string(), 1, [None, *pa.array([b"\xed\xa0\xbdx"]).buffers()[1:]])
    table = tmp_path / "a.parquet"
    pq.write_table(pa.table({"half": half, "text": ["soup"], "text.of": [half[0]], "a.b": [7]}), table)
    assert parquet_columns(table) == ["half", "text", "text.of", "a.b"]
    assert parquet_records(table, ["a.b", "text"]) == [{"a.b": 7, "text": "soup"}]
    assert parquet_records(table, []) == [{}]
    with pytest.raises(DataError, match=r"a\.parquet, in which a cell of text is not UTF-8"):
        parquet_records(table, ["half"])


def test_a_parquet_column_of_bytes_is_read_as_text(tmp_path: Path) -> None:
    table = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": pa.array([b"caf\xc3\xa9", None], pa.binary()), "other": pa.array([b"\xff", b""], pa.binary())}), table)
    assert parquet_records(table, ["text"]) == [{"text": "café"}, {"text": None}]
    with pytest.raises(DataError, match="a cell of text is not UTF-8"):
        parquet_records(table, ["other"])


def test_a_parquet_file_that_is_none_or_torn_is_refused(tmp_path: Path) -> None:
    table = tmp_path / "a.parquet"
    pq.write_table(pa.table({"text": [str(number) for number in range(1000)]}), table)
    whole = table.read_bytes()
    spoilt = written(tmp_path / "b.parquet", whole[:4] + bytes(500) + whole[504:])
    assert parquet_columns(spoilt) == ["text"]
    with pytest.raises(DataError, match=r"(?s)b\.parquet, which does not read as Parquet: .*a complete Parquet file"):
        parquet_records(spoilt, ["text"])
    for read in (parquet_columns, lambda file: parquet_records(file, ["text"])):
        with pytest.raises(DataError, match="which does not read as Parquet"):
            read(written(tmp_path / "c.parquet", whole[:-20]))
