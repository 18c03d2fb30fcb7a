from __future__ import annotations

import csv
import io
from pathlib import Path

import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipelines.labels_edit import edited_table

CELLS = st.text(st.characters(blacklist_categories=("Cs",), blacklist_characters="\x00"), max_size=8)


def edited(folder: Path, content: str | bytes, **changes: str | None) -> bytes:
    (folder / "labels.csv").write_bytes(content.encode() if isinstance(content, str) else content)
    return edited_table(folder / "labels.csv", {name.replace("_", "."): label for name, label in changes.items()})


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("path,label\na.png,x\nb.png,y\nc.png,z\n", "path,label\na.png,x\nb.png,new\n"),
        ("path,label\r\na.png,x\r\nb.png,y\r\nc.png,z", "path,label\r\na.png,x\r\nb.png,new\r\n"),
        ("\ufeffpath,label\na.png,x\nb.png,y\nc.png,z\n", "\ufeffpath,label\na.png,x\nb.png,new\n"),
        ('label,who,path\n"x","a ""b""",a.png\ny,"1\n2",./b.png\nz,,c.png\n', 'label,who,path\n"x","a ""b""",a.png\nnew,"1\n2",./b.png\n'),
        ("path,label\na.png,x\n\nb.png,y\n\n\nc.png,z\n", "path,label\na.png,x\n\nb.png,new\n\n\n"),
    ],
)
def test_only_the_named_rows_change(tmp_path: Path, before: str, after: str) -> None:
    assert edited(tmp_path, before, b_png="new", c_png=None).decode() == after


def test_a_label_with_a_comma_is_quoted(tmp_path: Path) -> None:
    assert edited(tmp_path, "path,label\nb.png,y\n", b_png='dog, "big"') == b'path,label\nb.png,"dog, ""big"""\n'


def test_without_changes_it_is_the_same_to_the_byte(tmp_path: Path) -> None:
    content = b'path,label\r\n"a.png", x\nb.png,"y"\r\n\r\n'
    assert edited(tmp_path, content, z_png="new") == content


@given(st.lists(st.tuples(CELLS, CELLS), min_size=1, max_size=8), st.data())
def test_it_reads_as_the_csv_module_says(
    tmp_path_factory: pytest.TempPathFactory, cells: list[tuple[str, str]], data: st.DataObject
) -> None:
    folder = tmp_path_factory.mktemp("table")
    rows = [[f"{number}.png", label, note] for number, (label, note) in enumerate(cells)]
    text = io.StringIO(newline="")
    csv.writer(text).writerows([["path", "label", "note"], *rows])
    changed = data.draw(st.sets(st.sampled_from(range(len(rows)))))
    new: dict[str, str | None] = {f"{number}.png": None if data.draw(st.booleans()) else data.draw(CELLS) for number in changed}
    (folder / "labels.csv").write_bytes(text.getvalue().encode())
    result = edited_table(folder / "labels.csv", new).decode()
    expected = [[path, new.get(path, label), note] for path, label, note in rows if new.get(path, "") is not None]
    assert list(csv.reader(io.StringIO(result, newline="")))[1:] == expected


@pytest.mark.parametrize("kind", [pyarrow.string(), pyarrow.int64(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())])
def test_parquet_keeps_its_types_and_other_columns(tmp_path: Path, kind: pyarrow.DataType) -> None:
    labels = pyarrow.array(["1", "2", "3"]).cast(kind)
    table = pyarrow.table({"path": ["a.png", "./b.png", "c.png"], "label": labels, "note": [1.5, None, 2.5]})
    pyarrow.parquet.write_table(table, tmp_path / "labels.parquet")
    content = edited_table(tmp_path / "labels.parquet", {"b.png": "7", "c.png": None})
    after = pyarrow.parquet.read_table(io.BytesIO(content))
    assert after.schema.types == table.schema.types
    assert after.column("label").cast(pyarrow.string()).to_pylist() == ["1", "7"]
    assert after.drop_columns(["label"]).to_pylist() == [{"path": "a.png", "note": 1.5}, {"path": "./b.png", "note": None}]


@pytest.mark.parametrize("kind", [pyarrow.string(), pyarrow.dictionary(pyarrow.int32(), pyarrow.string())])
def test_parquet_takes_the_set_without_a_member(tmp_path: Path, kind: pyarrow.DataType) -> None:
    table = pyarrow.table({"path": ["a.png", "b.png"], "label": pyarrow.array(["x|y", "x"]).cast(kind)})
    pyarrow.parquet.write_table(table, tmp_path / "labels.parquet")
    after = pyarrow.parquet.read_table(io.BytesIO(edited_table(tmp_path / "labels.parquet", {"a.png": ""})))
    assert after.column("label").cast(pyarrow.string()).to_pylist() == ["", "x"]
