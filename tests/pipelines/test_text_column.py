from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.core.errors import DataError
from pipelines.text_column import read_text_column

TEXTS = ["a soup, with salt", 'héllo "🎉"', "the tide\u2028and the wind", "last"]


def written(folder: Path, suffix: str) -> Path:
    """The same texts in a file of each kind, beside a column that must not matter."""
    file = folder / f"texts{suffix}"
    if suffix == ".parquet":
        pq.write_table(pa.table({"label": [b"\xff"] * 4, "text": TEXTS}), file)
    elif suffix == ".csv":
        lines = ["label,text", *(f'wrong,"{text.replace(chr(34), 2 * chr(34))}"' for text in TEXTS)]
        file.write_text("\n".join(lines) + "\n", encoding="utf-8-sig", newline="")
    elif suffix == ".tsv":
        file.write_text("\n".join(["label\ttext", *(f"\t{text}" for text in TEXTS)]), encoding="utf-8", newline="")
    elif suffix == ".jsonl":
        file.write_text("\n".join(json.dumps({"text": text, "label": [{}]}) for text in TEXTS), encoding="utf-8")
    else:
        file.write_bytes("\r\n".join(TEXTS).encode() + b"\n")
    return file


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".jsonl", ".txt"])
def test_every_kind_of_file_has_the_same_texts(tmp_path: Path, suffix: str) -> None:
    assert [text.removesuffix("\r") for text in read_text_column(written(tmp_path, suffix))] == TEXTS


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("a.csv", b"text,label\none\ntwo,x\n,x\nthree,x,y\n"),
        ("a.tsv", b"text\tlabel\none\ntwo\tx\n\tx\nthree\tx\ty\n"),
        ("a.jsonl", b'{"text": ["one"]}\n{"text": "two"}\n{"text": ""}\n{"text": "\\ud800"}\n'),
    ],
)
def test_rows_that_cannot_be_read_are_counted(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    assert read_text_column(tmp_path / name) == ["two", "", "", ""]


def test_a_text_column_alone_is_enough_and_rows_without_a_text_are_empty(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text('text\none\n""\n"two\nlines"\n')
    assert read_text_column(tmp_path / "a.csv") == ["one", "", "two\nlines"]
    (tmp_path / "a.jsonl").write_text('{"text": "one"}\n{"text": null}\n{"label": "x"}\n[1]\n{"text": 3}\n')
    assert read_text_column(tmp_path / "a.jsonl") == ["one", "", "", "3", ""]
    pq.write_table(pa.table({"text": ["one", None]}), tmp_path / "a.parquet")
    assert read_text_column(tmp_path / "a.parquet") == ["one", ""]


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        # Of a table without a header the first line is a text, which is not to be shown.
        ("a.csv", b"my secret,body\nx,y\n", r"a\.csv without the column text; it has 2 columns\. .*columns text, each once\."),
        ("a.csv", b"text,text\nx,y\n", r"with the column 'text' twice"),
        ("a.csv", b"", r"without the column text; it has 0 columns"),
        ("a.csv", b"text\n", r"a\.csv without a single row"),
        ("a.csv", b'text\n""\n', r"a\.csv without a text"),
        ("a.csv", b'text\n"half', r"does not parse as CSV"),
        ("a.csv", b"text\n\xff\n", r"byte 5 is not UTF-8"),
        ("a.txt", b"\n\n", r"a\.txt without a text"),
        ("a.txt", b"", r"a\.txt without a text"),
        ("a.txt", b"\xff", r"a\.txt, whose byte 0 is not UTF-8"),
        ("a.jsonl", b'{"body": "x"}', r"without the column text; it has 1 columns"),
        ("a.jsonl", b"[1]", r"a\.jsonl without a text"),
        ("a.tsv", b"body\nx", r"without the column text; it has 1 columns"),
        ("a.parquet", b"PAR1", r"a\.parquet, which does not read as Parquet"),
        ("a.docx", b"x", r"a\.docx, a file of another kind.*\.csv, \.parquet, \.tsv, \.jsonl, \.txt"),
    ],
)
def test_bad_files(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=words):
        read_text_column(tmp_path / name)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"nowhere\.csv, which is no file"):
        read_text_column(tmp_path / "nowhere.csv")
    with pytest.raises(DataError, match="which is no file"):
        read_text_column(tmp_path)
    pq.write_table(pa.table({"body": ["x"]}), tmp_path / "a.parquet")
    with pytest.raises(DataError, match="without the column text; it has 1 columns"):
        read_text_column(tmp_path / "a.parquet")
