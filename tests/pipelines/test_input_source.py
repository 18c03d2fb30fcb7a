from __future__ import annotations

import json
import os
from pathlib import Path

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


def test_what_is_no_source(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"no folder and no table at .*nowhere\. Allowed: a folder of sounds, or a table"):
        find_inputs(tmp_path / "nowhere", "audio")
    with pytest.raises(DataError, match=r"which names no text\. Allowed: at least one: \.txt"):
        find_inputs(tmp_path, "text")
