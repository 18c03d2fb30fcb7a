from __future__ import annotations

import hashlib
from pathlib import Path

import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest

from pipelines.core.errors import DataError
from pipelines.dataset import read_samples, write_samples
from pipelines.image_files import inspect_bytes
from pipelines.label_rows import Problem
from pipelines.manifest import build_manifest, read_problems
from tests.pipelines.planted import (
    SETS,
    add_line,
    as_csv,
    picture,
    project,
    project_of_sets,
    tree,
    write_dataset,
    write_files,
    write_sets,
)


def manifest_of(data: Path, out: Path, labels_table: str = "labels.csv") -> list[Problem]:
    out.mkdir(exist_ok=True)
    build_manifest(data, project(data={"labels_table": labels_table}), out)
    return read_problems(out)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_dataset(tmp_path / "data")
    return tmp_path / "data"


def test_faultless_data(data: Path, tmp_path: Path) -> None:
    assert manifest_of(data, tmp_path / "m") == []
    samples = read_samples(tmp_path / "m" / "samples.csv")
    images = pd.read_csv(tmp_path / "m" / "images.csv")
    assert len(samples) == len(images) == 16
    first = samples[0]
    assert (first.path, first.label, first.domain, first.arrival, first.split) == ("images/ant_0.png", "ant", "default", "", "")
    assert first.id == first.group == hashlib.sha256(picture(0)).hexdigest()
    row = images.iloc[0]
    assert list(images.columns) == ["id", "path", "width_px", "height_px", "mode", "n_bytes", "pixel_digest"]
    assert (row.id, row.path, row.width_px, row.height_px, row["mode"], row.n_bytes) == (first.id, first.path, 9, 8, "RGB", len(picture(0)))
    assert row.pixel_digest == inspect_bytes(picture(0)).pixel_digest


def test_the_same_bytes_every_time(data: Path, tmp_path: Path) -> None:
    manifest_of(data, tmp_path / "one")
    manifest_of(data, tmp_path / "two")
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_optional_columns_and_names_of_all_kinds(tmp_path: Path) -> None:
    data = tmp_path / "data"
    names = ["bilder/Käfer 1.png", "画像, zwei.png", 'with "quotes".png', "emoji 🐝.png"]
    write_files(data, {name: picture(number) for number, name in enumerate(names)})
    rows = [(name, "bee", f"writer {number}", "lab", "20261120", "holdout") for number, name in enumerate(names)]
    (data / "labels.csv").write_bytes(b"\xef\xbb\xbf" + as_csv([("path", "label", "group", "domain", "arrival", "split"), *rows]))
    assert manifest_of(data, tmp_path / "m") == []
    samples = read_samples(tmp_path / "m" / "samples.csv")
    assert [(s.path, s.group, s.domain, s.arrival, s.split) for s in samples] == [(r[0], r[2], r[3], "2026-11-20", r[5]) for r in rows]


def test_parquet_table(tmp_path: Path) -> None:
    data = tmp_path / "data"
    write_files(data, {"a.png": picture(1)})
    pyarrow.parquet.write_table(pyarrow.table({"path": ["a.png"], "label": ["ant"]}), data / "labels.parquet")
    assert manifest_of(data, tmp_path / "m", labels_table="labels.parquet") == []
    assert [sample.path for sample in read_samples(tmp_path / "m" / "samples.csv")] == ["a.png"]


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("images/none.png,ant", Problem("images/none.png", "no such file", "file")),
        ("../secret.png,ant", Problem("../secret.png", "the path leads out of data/", "file")),
        ("images/short.png,ant", Problem("images/short.png", "70 bytes that do not decode as an image (OSError)", "file")),
        (",ant", Problem("labels.csv line 18", "the path is empty", "row")),
        (
            "./images//ant_0.png,ant",
            Problem("labels.csv line 18", "the path images/ant_0.png is listed already (labels.csv line 2)", "row"),
        ),
        ("a,b,c", Problem("labels.csv line 18", "has 3 cells, the header has 2; put double quotes around a cell with a comma", "row")),
        ("new.png,", Problem("new.png", "the label is empty", "label")),
        ("new.png,Bee", Problem("new.png", "the label 'Bee' is not in the conf file's labels (did you mean 'bee'?)", "label")),
        ("new.png,wasp", Problem("new.png", "the label 'wasp' is not in the conf file's labels", "label")),
        ('"new\n.png",bee', Problem("labels.csv line 18", r"'new\n.png' holds a control character", "row")),
    ],
)
def test_each_fault_is_a_problem(data: Path, tmp_path: Path, line: str, problem: Problem) -> None:
    write_files(data, {"new.png": picture(99), "images/short.png": picture(98)[:70]})
    add_line(data, line)
    assert manifest_of(data, tmp_path / "m") == [problem]


@pytest.mark.parametrize(
    ("column", "value", "problem"),
    [
        ("split", "training", Problem("a.png", "the split 'training' is none of train, validation, test, holdout or empty", "split")),
        ("arrival", "20/11/2026", Problem("a.png", "the arrival '20/11/2026' is no ISO 8601 date, for example 2026-11-20", "row")),
        (
            "weather",
            "rain",
            Problem("labels.csv", "the column 'weather' is not used; Regraft knows path, label, group, domain, arrival, split", "note"),
        ),
    ],
)
def test_faults_in_optional_columns(tmp_path: Path, column: str, value: str, problem: Problem) -> None:
    data = tmp_path / "data"
    write_files(data, {"a.png": picture(1), "labels.csv": as_csv([("path", "label", column), ("a.png", "ant", value)])})
    assert manifest_of(data, tmp_path / "m") == [problem]


@pytest.mark.parametrize("file_format", ["PNG", "BMP"])
def test_one_picture_under_two_labels(data: Path, tmp_path: Path, file_format: str) -> None:
    """PNG: the same bytes; BMP: the same pixels in other bytes."""
    write_files(data, {"twin.img": picture(0, file_format=file_format)})
    add_line(data, "twin.img,bee")
    assert manifest_of(data, tmp_path / "m") == [
        Problem("images/ant_0.png", "labelled 'ant' and the same picture as twin.img (labelled 'bee')", "twin"),
        Problem("twin.img", "labelled 'bee' and the same picture as images/ant_0.png (labelled 'ant')", "twin"),
    ]


def test_copies_with_one_label_are_no_problem(data: Path, tmp_path: Path) -> None:
    write_files(data, {"copy.png": picture(0)})
    add_line(data, "copy.png,ant")
    assert manifest_of(data, tmp_path / "m") == []
    ids = [sample.id for sample in read_samples(tmp_path / "m" / "samples.csv")]
    assert len(ids) == 17
    assert len(set(ids)) == 16


def test_all_faults_come_in_one_pass(data: Path, tmp_path: Path) -> None:
    write_files(data, {"twin.png": picture(1), "broken.png": b"no image"})
    for line in ("broken.png,wasp", "gone.png,ant", ",ant", "twin.png,ant", "images/ant_0.png,ant"):
        add_line(data, line)
    problems = manifest_of(data, tmp_path / "m")
    assert sorted((problem.kind, problem.where) for problem in problems) == [
        ("file", "broken.png"),
        ("file", "gone.png"),
        ("label", "broken.png"),
        ("row", "labels.csv line 20"),
        ("row", "labels.csv line 22"),
        ("twin", "images/bee_1.png"),
        ("twin", "twin.png"),
    ]
    paths = {sample.path for sample in read_samples(tmp_path / "m" / "samples.csv")}
    assert "twin.png" in paths
    assert not paths & {"broken.png", "gone.png"}


def test_link_out_of_the_data(data: Path, tmp_path: Path) -> None:
    write_files(tmp_path, {"secret.png": picture(50)})
    (data / "link.png").symlink_to(tmp_path / "secret.png")
    add_line(data, "link.png,ant")
    assert [(problem.where, problem.kind) for problem in manifest_of(data, tmp_path / "m")] == [("link.png", "file")]


def test_structural_faults_are_raised(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no labels table"):
        build_manifest(tmp_path, project(), tmp_path)


def manifest_of_sets(data: Path, out: Path) -> list[Problem]:
    out.mkdir(exist_ok=True)
    build_manifest(data, project_of_sets(), out)
    return read_problems(out)


def test_sets_of_labels_are_written_in_one_form(tmp_path: Path) -> None:
    write_sets(tmp_path / "data")
    assert manifest_of_sets(tmp_path / "data", tmp_path / "m") == []
    assert [sample.label for sample in read_samples(tmp_path / "m" / "samples.csv")] == list(SETS) * 6
    # The same cells are wrong where a sample has one label: nothing there is taken apart.
    problems = manifest_of(tmp_path / "data", tmp_path / "one")
    assert {problem.problem for problem in problems} == {
        "the label is empty",
        "the label 'bee | ant' is not in the conf file's labels",
    }


@pytest.mark.parametrize(
    ("cell", "problem"),
    [
        ("ant|ant", "the label 'ant|ant' names 'ant' twice"),
        ("ant|wasp", "the label 'wasp' is not in the conf file's labels"),
        ("ant|", "the label 'ant|' has no name on one side of a |"),
    ],
)
def test_a_cell_that_is_no_set_is_a_problem_and_a_sample(tmp_path: Path, cell: str, problem: str) -> None:
    write_sets(tmp_path / "data")
    write_files(tmp_path / "data", {"images/new.png": picture(500)})
    add_line(tmp_path / "data", f"images/new.png,{cell}")
    assert manifest_of_sets(tmp_path / "data", tmp_path / "m") == [Problem("images/new.png", problem, "label")]
    assert read_samples(tmp_path / "m" / "samples.csv")[-1].label == cell


def test_the_same_picture_under_two_sets_is_a_problem_under_two_ways_to_write_one_it_is_none(tmp_path: Path) -> None:
    write_sets(tmp_path / "data")
    for name, cell in {"same": "bee|ant", "other": "bee"}.items():
        write_files(tmp_path / "data", {f"images/{name}.png": picture(3, file_format="BMP" if name == "same" else "PNG")})
        add_line(tmp_path / "data", f"images/{name}.png,{cell}")
    problems = manifest_of_sets(tmp_path / "data", tmp_path / "m")
    assert {problem.kind for problem in problems} == {"twin"}
    assert [problem.where for problem in problems] == ["images/3.png", "images/same.png", "images/other.png"]
    assert problems[0].problem == "labelled 'ant|bee' and the same picture as images/other.png (labelled 'bee')"


# Further columns.


def sliced(tmp_path: Path, table: str = "labels.csv") -> Path:
    data = tmp_path / "data"
    write_files(data, {f"{number}.png": picture(number) for number in range(3)})
    rows = [
        ("path", "scanner", "label", "age", "split"),
        ("0.png", "x, y", "ant", "", "test"),
        ("1.png", "", "bee", "NA", ""),
        ("2.png", "z", "bee", "3", ""),
    ]
    if table.endswith(".csv"):
        (data / table).write_bytes(as_csv(rows))
    else:
        columns = list(zip(*rows, strict=True))
        pyarrow.parquet.write_table(pyarrow.table({name: list(cells) for name, *cells in columns}), data / table)
    return data


@pytest.mark.parametrize("table", ["labels.csv", "labels.parquet"])
def test_further_columns_travel_with_the_samples(tmp_path: Path, table: str) -> None:
    (tmp_path / "m").mkdir()
    config = project(data={"labels_table": table, "slices": ["age", "scanner"]})
    build_manifest(sliced(tmp_path, table), config, tmp_path / "m")
    assert read_problems(tmp_path / "m") == []
    samples = read_samples(tmp_path / "m" / "samples.csv")
    assert [dict(sample.slices) for sample in samples] == [
        {"age": "", "scanner": "x, y"},
        {"age": "NA", "scanner": ""},
        {"age": "3", "scanner": "z"},
    ]
    write_samples(samples, tmp_path / "again.csv")
    assert (tmp_path / "again.csv").read_bytes() == (tmp_path / "m" / "samples.csv").read_bytes()


def test_a_column_that_is_not_asked_for_stays_a_note(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    build_manifest(sliced(tmp_path), project(data={"slices": ["age"]}), tmp_path / "m")
    assert [problem.problem.split(";")[0] for problem in read_problems(tmp_path / "m")] == ["the column 'scanner' is not used"]


def test_a_column_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    config = project(data={"slices": ["age", "site"]})
    with pytest.raises(
        DataError, match=r"without the column 'site' that data\.slices names\. Allowed: its further columns: 'age', 'scanner'"
    ):
        build_manifest(sliced(tmp_path), config, tmp_path / "m")
    assert list((tmp_path / "m").iterdir()) == []


def test_a_control_character_in_a_further_column_is_a_problem(tmp_path: Path) -> None:
    data = sliced(tmp_path)
    add_line(data, '2b.png,"a\nb",ant,1,')
    (tmp_path / "m").mkdir()
    build_manifest(data, project(data={"slices": ["scanner"]}), tmp_path / "m")
    assert "holds a control character" in " ".join(problem.problem for problem in read_problems(tmp_path / "m"))
