from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.core.errors import DataError, IntegrityError
from pipelines.dataset import Sample, read_sample
from pipelines.labels_edit import edited_table
from pipelines.labels_table import held_by, read_labels_table
from pipelines.sample_source import read_source
from pipelines.text_rows import table_of, text_paths
from pipelines.text_tables import read_text_table
from tests.pipelines.tiny_texts import write_table

ROWS = [('a, b\nand "c"', "x"), ("line\rfeed", "y"), ("héllo 🎉", "x"), ("héllo 🎉", "x"), ("  spaces  ", "y"), ("z" * 200_000, "x")]


def sample(text: str, path: str) -> Sample:
    return Sample(hashlib.sha256(text.encode()).hexdigest(), path, "x", "", "default", "", "train")


def test_texts_come_back_byte_for_byte(tmp_path: Path) -> None:
    table = read_labels_table(write_table(tmp_path / "labels.csv", ROWS), holds="texts")
    assert [(row.text, row.label) for row in table.rows] == ROWS
    assert table.unknown_columns == ()
    for row in table.rows:
        assert read_sample(tmp_path, sample(row.text, row.path)) == row.text.encode()


def test_copies_have_paths_of_their_own() -> None:
    one, other, copy = text_paths(["a", "b", "a"], "sub/labels.csv")
    assert copy == f"{one}.2"
    assert one != other
    assert one.startswith("sub/labels.csv#")
    assert table_of(copy, hashlib.sha256(b"a").hexdigest()) == "sub/labels.csv"
    assert table_of(copy, hashlib.sha256(b"b").hexdigest()) is None
    assert table_of("images/a#b.png", "ab" * 32) is None


def test_a_text_that_was_changed_is_named(tmp_path: Path) -> None:
    table = write_table(tmp_path / "labels.csv", ROWS)
    asked = sample("héllo 🎉", read_labels_table(table, holds="texts").rows[2].path)
    assert read_sample(tmp_path, asked)
    write_table(table, [("another", "x"), ("text altogether", "y")])
    with pytest.raises(IntegrityError, match=r"labels.csv#[0-9a-f]{16} of the data that changed since it was listed: the labels table"):
        read_sample(tmp_path, asked)
    table.unlink()
    with pytest.raises(IntegrityError, match="cannot be read any more"):
        read_sample(tmp_path, asked)


def test_the_same_table_in_every_format(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]}), tmp_path / "labels.parquet")
    lines = [json.dumps({"text": text, "label": label, "domain": None}) for text, label in ROWS]
    (tmp_path / "labels.jsonl").write_text("\n".join([*lines, "[1]", "{"]))
    plain = [(text, label) for text, label in ROWS if not set(text) & set('\n\r"')]
    (tmp_path / "labels.tsv").write_text(
        "text\tlabel\n" + "\n".join("\t".join(row) for row in plain) + "\nonly one cell\n", encoding="utf-8"
    )
    for name in ("labels.parquet", "labels.jsonl"):
        assert [(row.text, row.label) for row in read_text_table(tmp_path / name).rows] == ROWS
    assert [(finding.where, finding.problem) for finding in read_text_table(tmp_path / "labels.jsonl").findings] == [
        ("labels.jsonl line 7", "is no JSON object"),
        ("labels.jsonl line 8", "is no JSON object"),
    ]
    found = read_text_table(tmp_path / "labels.tsv")
    assert [(row.text, row.label) for row in found.rows] == plain
    assert len(found.findings) == 1
    assert held_by(tmp_path / "labels.parquet") == "texts"


def test_a_table_without_texts_is_refused(tmp_path: Path) -> None:
    (tmp_path / "labels.csv").write_text("path,label\na.png,x\n")
    assert held_by(tmp_path / "labels.csv") == "files"
    with pytest.raises(DataError, match=r"without the column text; it has 'path', 'label'.*text, label"):
        read_labels_table(tmp_path / "labels.csv", holds="texts")
    (tmp_path / "labels.xlsx").write_text("")
    with pytest.raises(DataError, match=r"labels.xlsx.*\.csv, \.parquet, \.tsv, \.jsonl"):
        read_text_table(tmp_path / "labels.xlsx")


@pytest.mark.parametrize("suffix", ["csv", "parquet"])
def test_labels_of_texts_are_edited_by_their_paths(tmp_path: Path, suffix: str) -> None:
    table = tmp_path / f"labels.{suffix}"
    if suffix == "csv":
        write_table(table, ROWS)
    else:
        pq.write_table(pa.table({"text": [text for text, _ in ROWS], "label": [label for _, label in ROWS]}), table)
    paths = [row.path for row in read_labels_table(table, holds="texts").rows]
    table.write_bytes(edited_table(table, {paths[0]: "y", paths[3]: None}))
    assert [(row.text, row.label) for row in read_labels_table(table, holds="texts").rows] == [(ROWS[0][0], "y"), *ROWS[1:3], *ROWS[4:]]


def written(place: Path, content: str) -> Path:
    place.write_bytes(content.encode())
    return place


def test_lists_of_names_in_jsonl_are_sets_of_labels(tmp_path: Path) -> None:
    lines = [{"text": "one", "label": ["a", "b"]}, {"text": "two", "label": []}, {"text": "three", "label": "b|a"}]
    lines += [{"text": "four", "label": cell} for cell in ([["a"]], ["a|b"], [""], [None], {"a": 1})]
    table = written(tmp_path / "labels.jsonl", "\n".join(map(json.dumps, lines)))
    found = read_text_table(table, (), "many")
    assert [(row.text, row.label) for row in found.rows] == [("one", "a|b"), ("two", ""), ("three", "b|a")]
    assert [finding.where for finding in found.findings] == [f"labels.jsonl line {number}" for number in range(4, 9)]
    assert "the column 'label' holds a list that is not one of names" in found.findings[0].problem
    assert "the column 'label' holds an object" in found.findings[4].problem
    source = read_source(table, "many", task="text")
    assert source.classes == ("a", "b")
    assert [sample.label for sample in source.samples] == ["a|b", "", "a|b"]
    one = read_text_table(table)
    assert [(row.text, row.label) for row in one.rows] == [("three", "b|a")]
    assert "the column 'label' holds a list" in one.findings[0].problem


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("NaN", "the column 'label' holds a number that is not finite"),
        ("-Infinity", "the column 'label' holds a number that is not finite"),
        ('{"a": "b"}', "the column 'label' holds an object"),
        (r'"half \ud83d"', r"the column 'label' holds half a character (a lone surrogate)"),
    ],
)
def test_a_cell_that_is_no_text_is_a_finding(tmp_path: Path, cell: str, problem: str) -> None:
    table = written(tmp_path / "labels.jsonl", f'{{"text": "soup", "label": 7}}\n{{"text": "broth", "label": {cell}}}\n')
    found = read_text_table(table)
    assert [(row.text, row.label) for row in found.rows] == [("soup", "7")]
    assert [(finding.where, finding.problem) for finding in found.findings] == [("labels.jsonl line 2", problem)]


@pytest.mark.parametrize("column", ["text", "group", "shop", "\\ud83d"])
def test_half_a_character_anywhere_is_a_finding(tmp_path: Path, column: str) -> None:
    table = written(tmp_path / "labels.jsonl", f'{{"text": "soup", "label": "a"}}\n{{"text": "x", "label": "b", "{column}": "\\udc00"}}\n')
    source = read_source(table, slices=("shop",), task="text")
    assert [sample.text for sample in source.samples] == ["soup"]
    assert [finding.where for finding in source.findings] == ["labels.jsonl line 2"]
    "".join([*source.ignored, *(finding.problem for finding in source.findings)]).encode()


def test_bytes_that_are_no_utf8_in_a_parquet_table_are_said(tmp_path: Path) -> None:
    half = pa.Array.from_buffers(pa.string(), 1, [None, *pa.array([b"\xed\xa0\xbdx"]).buffers()[1:]])
    pq.write_table(pa.table({"text": half, "label": ["a"]}), tmp_path / "labels.parquet")
    with pytest.raises(DataError, match=r"labels.parquet, in which a cell of text is not UTF-8.*text in UTF-8.*export the table again"):
        read_text_table(tmp_path / "labels.parquet")


def test_a_doubled_column_is_refused_in_every_format(tmp_path: Path) -> None:
    for name, blank in (("labels.csv", ","), ("labels.tsv", "\t")):
        table = written(tmp_path / name, f"text{blank}label{blank}label\nsoup{blank}a{blank}b\n")
        with pytest.raises(DataError, match=r"with the column 'label' twice"):
            read_text_table(table)


@pytest.mark.parametrize(("name", "content"), [("labels.tsv", "text\tlabel\nsoup\none\ttwo\tthree\n"), ("labels.jsonl", "[]\n{\n")])
def test_a_table_without_a_single_good_row_keeps_its_findings(tmp_path: Path, name: str, content: str) -> None:
    found = read_text_table(written(tmp_path / name, content))
    assert (found.rows, len(found.findings)) == ((), 2)


@pytest.mark.parametrize(("name", "content"), [("labels.tsv", "text\tlabel\n"), ("labels.jsonl", "\n")])
def test_a_table_without_rows_is_refused(tmp_path: Path, name: str, content: str) -> None:
    with pytest.raises(DataError, match=rf"{name} without a single row"):
        read_text_table(written(tmp_path / name, content))


def test_a_table_without_the_columns_is_refused_in_every_format(tmp_path: Path) -> None:
    for name, content in (("labels.tsv", "words\tlabel\nsoup\n"), ("labels.jsonl", '{"words": "soup", "label": NaN}\n[]')):
        with pytest.raises(DataError, match="without the column text; it has 'words', 'label'"):
            read_text_table(written(tmp_path / name, content))
