"""Every way in which a label that comes back can be wrong is seen, named, and can be corrected in the sheet."""

from __future__ import annotations

import csv
import hashlib
import io
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipelines.core.errors import DataError
from pipelines.label_answers import Answer
from pipelines.label_sheet import COLUMNS, Line, as_sheet, read_sheet
from pipelines.label_tasks import LabelTask
from pipelines.returned_labels import Returned, check_returned, known_labels
from tests.pipelines.planted import picture, project, project_of_sets


def name_of(number: int) -> str:
    return f"{number:032x}"


def task(number: int) -> LabelTask:
    sha256 = hashlib.sha256(picture(number)).hexdigest()
    about = {"predicted": "ant", "confidence": 0.6, "picked_by": "random", "model": "a" * 16}
    return LabelTask.model_validate({"request_id": name_of(number), "sha256": sha256, "path": f"images/{number}.png", **about})


TASKS = {name_of(number): task(number) for number in range(6)}


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("raw")
    for number in range(6):
        (folder / task(number).sha256).write_bytes(picture(number))
    return folder


def answer(number: int, label: str, sha256: str = "", problem: str = "") -> Answer:
    return Answer("f line 1", name_of(number), label, sha256, problem)


def check(raw: Path, *answers: Answer, known: dict[str, str] | None = None) -> Returned:
    return check_returned(answers, TASKS, known or {}, raw, project())


def test_labels_that_are_right_are_taken(raw: Path) -> None:
    found = check(raw, answer(0, "ant"), answer(1, "bee", task(1).sha256))
    assert [(one.task.request_id, one.label) for one in found.taken] == [(name_of(0), "ant"), (name_of(1), "bee")]
    assert (found.n_known, found.n_repeated, found.refused) == (0, 0, ())


@pytest.mark.parametrize(
    ("answers", "problem"),
    [
        ([answer(0, "wasp")], "the label 'wasp' is not in the conf file's labels"),
        ([answer(0, "Bee")], "the label 'Bee' is not in the conf file's labels (did you mean 'bee'?)"),
        ([answer(9, "ant")], f"no input with the id {name_of(9)!r} was handed out"),
        ([Answer("f line 1", "", "ant")], "names no input (request_id, or id in a CSV file)"),
        ([answer(0, "ant"), answer(0, "bee")], "people disagree: 'ant', 'bee'"),
        ([answer(0, "", problem="was skipped")], "was skipped"),
        ([answer(0, "", problem="has no label yet")], "has no label yet"),
        ([answer(0, "ant", "f" * 64)], "its bytes are not those that were handed out"),
        ([answer(0, "ant", task(0).sha256), answer(0, "ant", "f" * 64)], "stands there with the bytes of two inputs"),
    ],
)
def test_what_is_wrong_is_named_and_not_taken(raw: Path, answers: list[Answer], problem: str) -> None:
    found = check(raw, *answers, answer(1, "bee"))
    assert [line.reason for line in found.refused] == [f"f line 1: {problem}"]
    assert [one.task.request_id for one in found.taken] == [name_of(1)]


def test_raw_bytes_that_are_gone_or_changed(tmp_path: Path) -> None:
    (tmp_path / task(0).sha256).write_bytes(picture(77))
    found = check(tmp_path, answer(0, "ant"), answer(1, "ant"))
    assert [line.reason.split(": ", 1)[1] for line in found.refused] == [
        "its raw bytes are not those that were handed out",
        "its raw bytes are gone (No such file or directory)",
    ]


def test_what_is_said_twice_counts_once(raw: Path) -> None:
    found = check(raw, answer(0, "ant"), answer(0, "ant"), answer(0, "", problem="was skipped"))
    assert (len(found.taken), found.n_repeated, found.refused) == (1, 2, ())


def test_what_is_known_adds_nothing_and_another_label_is_refused(raw: Path) -> None:
    found = check(raw, answer(0, "ant"), answer(1, "bee"), known={name_of(0): "ant", name_of(1): "ant"})
    assert (found.taken, found.n_known) == ((), 1)
    assert found.refused[0].reason.endswith("labelled 'bee', but it has the label 'ant' already (`regraft data relabel` corrects labels)")


def test_lines_without_a_name_are_not_taken_for_one_input(raw: Path) -> None:
    found = check(raw, Answer("f line 1", "", "ant"), Answer("f line 2", "", "bee"))
    assert [line.label for line in found.refused] == ["ant", "bee"]


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 7), st.sampled_from(["ant", "bee", "wasp"]), st.sampled_from(["", "was skipped"])), max_size=20))
def test_no_line_is_lost(raw: Path, given_lines: list[tuple[int, str, str]]) -> None:
    answers = [answer(number, "" if problem else label, problem=problem) for number, label, problem in given_lines]
    found = check(raw, *answers)
    assert len(found.taken) + found.n_known + found.n_repeated + len(found.refused) == len(answers)


def test_sets_are_compared_in_one_form(raw: Path) -> None:
    found = check_returned([answer(0, "bee|ant"), answer(0, " ant | bee"), answer(1, "")], TASKS, {}, raw, project_of_sets())
    assert [one.label for one in found.taken] == ["ant|bee", ""]


def test_of_feedback_the_latest_line_counts() -> None:
    lines = [{"request_id": name_of(number), "label": label, "time": time} for number, label, time in ((0, "bee", "2"), (0, "ant", "1"))]
    assert known_labels([*lines, {"request_id": name_of(1), "label": "ant", "time": "1"}], {name_of(0)}, project()) == {name_of(0): "bee"}


def test_a_sheet_is_filled_in_and_read(tmp_path: Path) -> None:
    (tmp_path / "s.csv").write_bytes(as_sheet([Line(task(0), name_of(0)), Line(task(1), name_of(1))]))
    lines = (tmp_path / "s.csv").read_text().splitlines()
    assert lines == [",".join(COLUMNS), f"{name_of(0)},images/0.png,ant,0.6000,random,", f"{name_of(1)},images/1.png,ant,0.6000,random,"]
    (tmp_path / "s.csv").write_text("\n".join([lines[0], lines[1] + " bee ", lines[2]]))
    assert read_sheet(tmp_path / "s.csv", ("ant", "bee"), "one") == [
        Answer("s.csv line 2", name_of(0), "bee"),
        Answer("s.csv line 3", name_of(1), "", problem="has no label yet"),
    ]


def test_a_sheet_shows_texts_and_is_read_again(tmp_path: Path) -> None:
    texts = {task(0).sha256: 'soup, "salt"\r\nand\rbread', task(1).sha256: "⛵" * 40_000}
    lines = [Line(task(number), name_of(number), label="bee") for number in range(3)]
    (tmp_path / "s.csv").write_bytes(as_sheet([*lines, Line(None, name_of(9), "ant")], texts=texts))
    with (tmp_path / "s.csv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    assert list(rows[0]) == ["id", "path", "text", "predicted", "confidence", "picked_by", "label"]
    assert [row["text"] for row in rows] == [texts[task(0).sha256], "⛵" * 32_000 + " …", "", ""]
    found = read_sheet(tmp_path / "s.csv", ("ant", "bee"), "one")
    assert [(one.request_id, one.label) for one in found] == [
        (name_of(0), "bee"),
        (name_of(1), "bee"),
        (name_of(2), "bee"),
        (name_of(9), "ant"),
    ]


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "\uff1d1"])
def test_no_text_is_a_formula(text: str) -> None:
    content = as_sheet([Line(task(0), name_of(0))], texts={task(0).sha256: text}).decode()
    (row,) = csv.DictReader(io.StringIO(content, newline=""))
    assert row["text"] == f"'{text}"


def test_bytes_of_a_text_are_those_it_has_or_those_it_is_shown_with(raw: Path) -> None:
    cleaned = task(0).model_copy(update={"shown_sha256": "c" * 64})
    for sha256, n_taken in ((task(0).sha256, 1), ("c" * 64, 1), ("f" * 64, 0)):
        found = check_returned([answer(0, "ant", sha256)], {name_of(0): cleaned}, {}, raw, project())
        assert len(found.taken) == n_taken


def test_a_quarantine_is_a_sheet(raw: Path, tmp_path: Path) -> None:
    refused = check(raw, answer(0, "wasp")).refused
    (tmp_path / "q.csv").write_bytes(as_sheet(refused, with_reasons=True))
    text = (tmp_path / "q.csv").read_text()
    assert "the label 'wasp' is not in the conf file's labels" in text
    (tmp_path / "q.csv").write_text(text.replace(",wasp,", ",bee,"))
    assert [one.label for one in check(raw, *read_sheet(tmp_path / "q.csv", ("ant", "bee"), "one")).taken] == ["bee"]


@pytest.mark.parametrize(
    "answers", [[answer(9, "")], [answer(0, "", task(0).sha256), answer(0, "", "f" * 64)]], ids=["no such input", "bytes of two"]
)
def test_a_refused_empty_set_is_the_empty_set_in_the_quarantine(raw: Path, tmp_path: Path, answers: list[Answer]) -> None:
    refused = check_returned(answers, TASKS, {}, raw, project_of_sets()).refused
    (tmp_path / "q.csv").write_bytes(as_sheet(refused, with_reasons=True))
    (found,) = read_sheet(tmp_path / "q.csv", project_of_sets().labels, "many")
    assert (found.label, found.problem) == ("", "")


@pytest.mark.parametrize(
    "answers", [[answer(0, "ant"), answer(0, "")], [answer(0, "", problem="was skipped")]], ids=["people disagree", "skipped"]
)
def test_a_label_that_nobody_gave_is_none_in_the_quarantine(raw: Path, tmp_path: Path, answers: list[Answer]) -> None:
    refused = check_returned(answers, TASKS, {}, raw, project_of_sets()).refused
    (tmp_path / "q.csv").write_bytes(as_sheet(refused, with_reasons=True))
    (found,) = read_sheet(tmp_path / "q.csv", project_of_sets().labels, "many")
    assert found.problem == "has no label yet"


@pytest.mark.parametrize(
    ("labels", "cell", "expected"), [(("ant",), "-", ("", "")), (("ant", "-"), "-", ("-", "")), (("ant",), "", ("", "has no label yet"))]
)
def test_the_empty_set_has_a_sign(tmp_path: Path, labels: tuple[str, ...], cell: str, expected: tuple[str, str]) -> None:
    (tmp_path / "s.csv").write_text(f"id,label\n{name_of(0)},{cell}\n")
    (found,) = read_sheet(tmp_path / "s.csv", labels, "many")
    assert (found.label, found.problem) == expected


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"", "s.csv with the columns of no header"),
        (b"id,path\n", "s.csv with the columns 'id', 'path'"),
        (b"id,label,label\n", "s.csv with the columns 'id', 'label', 'label'"),
        (b"id,label\n1\n", "s.csv line 2 with 1 cells under a header of 2"),
        (b'id,label\n"1,2\n', "s.csv, which does not read as CSV in UTF-8"),
        (b"id,label\n\xff,a\n", "s.csv, which does not read as CSV in UTF-8"),
    ],
)
def test_what_is_no_sheet_is_refused(tmp_path: Path, content: bytes, got: str) -> None:
    (tmp_path / "s.csv").write_bytes(content)
    with pytest.raises(DataError, match=rf"{got}.*the columns id and label.*nothing was taken"):
        read_sheet(tmp_path / "s.csv", ("ant",), "one")
