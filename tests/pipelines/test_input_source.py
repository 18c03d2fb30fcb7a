from __future__ import annotations

import json
import os
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pipelines.core.errors import ConfigurationError, DataError
from pipelines.input_source import find_inputs, read_input


def test_a_folder_is_searched_for_what_the_task_takes(tmp_path: Path) -> None:
    for name in ("b.PNG", "a/c.wav", "a/d.txt", "e.pdf"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    found = {task: find_inputs(tmp_path, task) for task in ("image", "audio", "text")}
    assert {task: [one.path for one in source.inputs] for task, source in found.items()} == {
        "image": ["b.PNG"],
        "audio": ["a/c.wav"],
        "text": ["a/d.txt"],
    }
    assert read_input(tmp_path, found["text"].inputs[0]) == b"a/d.txt"


def test_a_table_of_texts_holds_them_and_its_labels_are_not_looked_at(tmp_path: Path) -> None:
    table = tmp_path / "reviews.jsonl"
    rows: list[dict[str, object]] = [{"text": "soup"}, {"text": "salt", "label": "?"}, {"text": []}]
    table.write_text("".join(json.dumps(row) + "\n" for row in rows))
    found = find_inputs(table, "text")
    assert [one.text for one in found.inputs] == ["soup", "salt", None]
    assert [read_input(found.root, one) for one in found.inputs[:2]] == [b"soup", b"salt"]
    assert read_input(found.root, found.inputs[2]) == found.inputs[2].problem != ""


def test_a_table_of_files_names_them_from_its_own_folder(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_text("path\na.wav\nnot there.wav\n")
    (tmp_path / "a.wav").write_bytes(b"a sound")
    found = find_inputs(tmp_path / "list.csv", "audio")
    assert read_input(found.root, found.inputs[0]) == b"a sound"
    assert read_input(found.root, found.inputs[1]) == "no such file"


@pytest.mark.parametrize(
    ("path", "problem"),
    [
        ("../secret.png", "the path leads out of table/"),
        ("a/../../secret.png", "the path leads out of table/"),
        ("/dev/zero", "the path leads out of table/"),
        ("pipe.png", "is no regular file"),
        ("a", "is a folder, not a file"),
    ],
)
def test_a_table_names_regular_files_in_its_own_folder(path: str, problem: str, tmp_path: Path) -> None:
    folder = tmp_path / "table"
    (folder / "a").mkdir(parents=True)
    (tmp_path / "secret.png").write_bytes(b"secret")
    os.mkfifo(folder / "pipe.png")
    (folder / "list.csv").write_text(f"path\n{path}\n")
    found = find_inputs(folder / "list.csv", "image")
    assert read_input(found.root, found.inputs[0]) == problem


def test_paths_of_a_parquet_table_may_be_bytes_and_cells_may_be_empty(tmp_path: Path) -> None:
    """Spark and others write strings as bytes without saying that they are texts."""
    cells = {"path": pa.array([b"a.png", None, b"", "\N{HONEYBEE}.png".encode()], type=pa.binary()), "other": [1, 2, 3, 4]}
    pq.write_table(pa.table(cells), tmp_path / "list.parquet")
    found = find_inputs(tmp_path / "list.parquet", "image").inputs
    assert [(one.path, one.problem) for one in found] == [
        ("a.png", ""),
        ("list.parquet row 2", "the path is empty"),
        ("list.parquet row 3", "the path is empty"),
        ("\N{HONEYBEE}.png", ""),
    ]
    pq.write_table(pa.table({"path": [7]}), tmp_path / "numbers.parquet")
    assert find_inputs(tmp_path / "numbers.parquet", "image").inputs[0].problem == "the path is 7, no text"


def test_rows_of_a_csv_table_that_name_no_file(tmp_path: Path) -> None:
    (tmp_path / "list.csv").write_bytes(b'\xef\xbb\xbfpath,size\n"a, b.png",1\n,2\nc.png\nNA,3\n')
    found = find_inputs(tmp_path / "list.csv", "image").inputs
    assert [one.path for one in found if not one.problem] == ["a, b.png", "NA"]
    assert [(one.path, one.problem) for one in found if one.problem] == [
        ("list.csv line 3", "the path is empty"),
        ("list.csv line 4", "has 1 cells, the header has 2"),
    ]
    (tmp_path / "list.csv").write_text("path,path\na.png,b.png\n")
    with pytest.raises(DataError, match=r"with the columns path, path\. Allowed: a column named path, just one"):
        find_inputs(tmp_path / "list.csv", "image")


def test_what_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no folder and no table at .*nowhere\. Allowed: a folder of sounds, or a table"):
        find_inputs(tmp_path / "nowhere", "audio")
    with pytest.raises(DataError, match=r"which names no text\. Allowed: at least one: \.txt"):
        find_inputs(tmp_path, "text")
