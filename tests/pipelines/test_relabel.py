"""What an edited audit table must be, and that nothing is written where it is not."""

from __future__ import annotations

from pathlib import Path

import pytest

from pipelines.config import ProjectConfig
from pipelines.core.errors import ConfigurationError, DataError
from pipelines.relabel import Correction, apply_corrections, read_corrections
from tests.pipelines.conftest import tiny_config

HEADER = "kind,path,given_label,new_label,action\n"
TABLE = "path,label\nimages/a.png,0\n./images/b.png,1\nimages/c.png,2\n"


@pytest.fixture
def config(tiny_weights: Path) -> ProjectConfig:
    return tiny_config(tiny_weights)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "labels.csv").write_text(TABLE)
    return tmp_path / "data"


def written(data: Path, rows: str, header: str = HEADER) -> Path:
    file = data.parent / "audit.csv"
    file.write_text(header + rows, encoding="utf-8")
    return file


def test_filled_rows_are_corrections_and_others_are_not(data: Path, config: ProjectConfig) -> None:
    rows = "label,images/a.png,0,3,\nlabel,images/b.png,1,,\nlabel,./images/b.png,1, 2 ,\noutlier,images/c.png,2,,drop\n"
    corrections = read_corrections(written(data, rows), data, config)
    assert corrections.changes == (
        Correction("images/a.png", "0", "3"),
        Correction("images/b.png", "1", "2"),
        Correction("images/c.png", "2", None),
    )
    assert (corrections.n_relabelled, corrections.n_dropped) == (2, 1)
    assert corrections.summary == "Correct labels: 2 changed (0 to 3: 1, 1 to 2: 1), 1 row dropped"
    apply_corrections(corrections, data / "labels.csv", data.parent / "staging")
    assert (data / "labels.csv").read_text() == "path,label\nimages/a.png,3\n./images/b.png,2\n"
    assert list(data.iterdir()) == [data / "labels.csv"]


@pytest.mark.parametrize("rows", ["", "label,images/a.png,0,,\n", "label,gone.png,7,,\n"])
def test_a_file_that_asks_for_nothing_changes_nothing(data: Path, config: ProjectConfig, rows: str) -> None:
    assert read_corrections(written(data, rows), data, config).changes == ()


def test_what_is_so_already_is_counted_and_not_done_again(data: Path, config: ProjectConfig) -> None:
    corrections = read_corrections(
        written(data, "label,images/a.png,3,0,\nlabel,images/b.png,1,3,\nlabel,images/b.png,1,3,\n"), data, config
    )
    assert corrections.n_already == 1
    assert corrections.changes == (Correction("images/b.png", "1", "3"),)


@pytest.mark.parametrize(
    ("rows", "problem"),
    [
        ("label,images/x.png,0,1,\n", r"images/x\.png is not in the labels table"),
        ("label,images/a.png,0,9,\n", r"the new label: the label '9' is not in the conf file's labels"),
        ("label,images/a.png,0,cat|dog,\n", r"the new label: the label 'cat\|dog' is not in the conf file's labels"),
        ("label,images/a.png,2,3,\n", r"images/a\.png has the label '0' by now, not '2'"),
        ("label,images/a.png,2,,drop\n", r"images/a\.png has the label '0' by now, not '2'"),
        ("label,images/a.png,0,3,drop\n", r"has both the new label '3' and the action drop"),
        ("label,images/a.png,0,,delete\n", r"the action 'delete' is neither empty nor drop"),
        ("label,images/a.png,0,1,\nlabel,images/a.png,0,2,\n", r"images/a\.png was given another correction in a row above"),
        ("label,images/a.png,0,1,\nlabel,images/a.png,0,,drop\n", r"images/a\.png was given another correction in a row above"),
        ("label,images/a.png,0,,drop\nlabel,images/b.png,1,,drop\nlabel,images/c.png,2,,drop\n", r"drops every row of the labels table"),
    ],
)
def test_a_row_that_cannot_be_carried_out_refuses_the_file(data: Path, config: ProjectConfig, rows: str, problem: str) -> None:
    with pytest.raises(
        DataError, match=rf"audit\.csv with 1 row that cannot be carried out, the first: .*{problem}.*Next: .*nothing was changed"
    ):
        read_corrections(written(data, rows), data, config)
    assert (data / "labels.csv").read_text() == TABLE


def test_all_bad_rows_are_named_at_once(data: Path, config: ProjectConfig) -> None:
    with pytest.raises(DataError, match="with 2 rows that cannot be carried out") as caught:
        read_corrections(written(data, "label,images/a.png,0,9,\nlabel,images/b.png,1,2,\nlabel,images/x.png,0,1,\n"), data, config)
    assert [finding.where for finding in caught.value.findings] == ["audit.csv line 2", "audit.csv line 4"]


@pytest.mark.parametrize(
    ("header", "rows", "fault"),
    [
        ("path,given_label\n", "a.png,0\n", r"without the column new_label; it has 'path', 'given_label'"),
        (
            "path;given_label;new_label\n",
            "a.png;0;1\n",
            r"without the column path, given_label, new_label; it has 'path;given_label;new_label'",
        ),
        ("path,given_label,new_label,path\n", "", r"with the column path twice"),
        (HEADER, "label,images/a.png,0\n", r"line 2 with 3 cells under a header of 5"),
        (HEADER, 'label,"images/a.png,0,1,\n', r"does not read as CSV in UTF-8"),
        ("", "", r"without the column path, given_label, new_label; it has no columns"),
    ],
)
def test_another_table_is_refused(data: Path, config: ProjectConfig, header: str, rows: str, fault: str) -> None:
    with pytest.raises(DataError, match=rf"{fault}.*Allowed: .*path, given_label, new_label.*Next: edit a copy"):
        read_corrections(written(data, rows, header), data, config)


def test_a_table_in_another_encoding_is_refused(data: Path, config: ProjectConfig) -> None:
    (data.parent / "audit.csv").write_bytes((HEADER + "label,ü.png,0,1,\n").encode("latin-1"))
    with pytest.raises(DataError, match="does not read as CSV in UTF-8"):
        read_corrections(data.parent / "audit.csv", data, config)


def test_no_file(data: Path, config: ProjectConfig) -> None:
    with pytest.raises(ConfigurationError, match=r"no file at .*audit\.csv.*Allowed: the edited audit\.csv of a run.*Next: name it"):
        read_corrections(data.parent / "audit.csv", data, config)


def test_a_labels_table_that_lists_a_file_twice_is_refused(data: Path, config: ProjectConfig) -> None:
    (data / "labels.csv").write_text(TABLE + "images/b.png,2\n")
    with pytest.raises(DataError, match=r"lists images/b\.png 2 times.*Next: correct the table"):
        read_corrections(written(data, "label,images/b.png,1,3,\n"), data, config)


def test_with_many_labels_a_set_is_written_in_its_one_form(data: Path, tiny_weights: Path) -> None:
    many = tiny_config(tiny_weights, labels_per_sample="many", method={"kind": "probe"})
    (data / "labels.csv").write_text("path,label\nimages/a.png,2 | 0\nimages/b.png,\n")
    corrections = read_corrections(written(data, "label,images/a.png,0|2,3|1,\nlabel,images/b.png,,2,\n"), data, many)
    assert corrections.changes == (Correction("images/a.png", "0|2", "1|3"), Correction("images/b.png", "", "2"))
