from __future__ import annotations

import pytest

from pipelines.label_rows import (
    Problem,
    has_control_character,
    label_problem,
    read_label,
    split_problems,
    usable_rows,
    with_read_labels,
)
from pipelines.labels_table import LabelRow


@pytest.mark.parametrize(
    ("label", "problem"),
    [
        ("", "the label is empty"),
        ("Ant ", "the label 'Ant ' is not in the conf file's labels (did you mean 'ant'?)"),
        ("grasshoper", "the label 'grasshoper' is not in the conf file's labels (did you mean 'Grasshopper'?)"),
        ("wasp", "the label 'wasp' is not in the conf file's labels"),
    ],
)
def test_label_problem(label: str, problem: str) -> None:
    assert label_problem(label, ("ant", "Grasshopper")) == problem


def test_the_first_row_of_a_path_counts() -> None:
    rows = [LabelRow("line 2", "a.png", "ant"), LabelRow("line 3", "./a.png", "bee"), LabelRow("line 4", "", "bee")]
    usable, problems = usable_rows(rows)
    assert usable == rows[:1]
    assert problems == [
        Problem("line 3", "the path a.png is listed already (line 2)", "row"),
        Problem("line 4", "the path is empty", "row"),
    ]


@pytest.mark.parametrize("column", ["path", "label", "group", "domain", "arrival", "split"])
@pytest.mark.parametrize("character", ["\0", "\n", "\r", "\t"])
def test_control_characters_in_any_cell(column: str, character: str) -> None:
    cells = {"path": "a.png", "label": "ant", column: f"x{character}y"}
    usable, problems = usable_rows([LabelRow("line 2", **cells)])
    assert usable == []
    assert problems == [Problem("line 2", f"{cells[column]!r} holds a control character", "row")]
    assert not has_control_character("Käfer 画像 🐝")


@pytest.mark.parametrize(
    ("arrival", "day"),
    [
        ("", ""),
        ("2026-01-05", "2026-01-05"),
        ("20260105", "2026-01-05"),
        ("2026-W02-1", "2026-01-05"),
        ("2026W021", "2026-01-05"),
        ("2026-01-05T10:00:00Z", "2026-01-05"),
        ("2026-01-05 10:00", "2026-01-05"),
        ("20260105T100000.5+0100", "2026-01-05"),
        ("2026-01-04T23:30:00-05:00", "2026-01-05"),
        ("2026-01-06T00:30:00+01:00", "2026-01-05"),
    ],
)
def test_an_arrival_is_read_in_any_form_and_has_one(arrival: str, day: str) -> None:
    usable, problems = usable_rows([LabelRow("line 2", "a.png", "ant", arrival=arrival)])
    assert ([row.arrival for row in usable], problems) == ([day], [])


@pytest.mark.parametrize("arrival", ["05.01.2026", "2026-13-01", "yesterday", "0001-01-01T00:00:00+05:00"])
def test_what_is_no_date_is_a_problem(arrival: str) -> None:
    usable, problems = usable_rows([LabelRow("line 2", "a.png", "ant", arrival=arrival)])
    assert len(usable) == 1
    assert [problem.problem for problem in problems] == [f"the arrival {arrival!r} is no ISO 8601 date, for example 2026-11-20"]


def test_split_problems() -> None:
    rows = [
        LabelRow("line", f"{number}.png", "ant", split=split)
        for number, split in enumerate(("", "train", "validation", "test", "holdout", "val"))
    ]
    assert [problem.where for problem in split_problems(rows)] == ["5.png"]


@pytest.mark.parametrize(
    ("text", "label"),
    [("", ""), ("  ", ""), ("bee", "bee"), (" wasp |ant", "ant|wasp"), ("wasp|bee|ant", "ant|bee|wasp"), ("ant|bee|wasp", "ant|bee|wasp")],
)
def test_a_set_has_one_form(text: str, label: str) -> None:
    assert read_label(text, ("ant", "bee", "wasp"), "many") == (label, "")


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("ant|ant", "the label 'ant|ant' names 'ant' twice"),
        ("ant| ant ", "the label 'ant| ant ' names 'ant' twice"),
        ("ant|", "the label 'ant|' has no name on one side of a |"),
        ("ant||bee", "the label 'ant||bee' has no name on one side of a |"),
        ("|", "the label '|' has no name on one side of a |"),
        ("ant|owl", "the label 'owl' is not in the conf file's labels"),
        (
            "owl|Bee",
            "the label 'owl' is not in the conf file's labels; the label 'Bee' is not in the conf file's labels (did you mean 'bee'?)",
        ),
    ],
)
def test_a_text_that_is_no_set_stays_as_it_is_and_has_a_problem(text: str, problem: str) -> None:
    assert read_label(text, ("ant", "bee"), "many") == (text, problem)


@pytest.mark.parametrize(("text", "problem"), [("ant", ""), ("ant|bee", ""), (" ant", "did you mean 'ant'"), ("", "the label is empty")])
def test_one_label_is_taken_literally(text: str, problem: str) -> None:
    label, found = read_label(text, ("ant", "ant|bee"), "one")
    assert label == text
    assert problem in found
    assert bool(problem) == bool(found)


def test_rows_are_read_and_their_problems_name_them() -> None:
    rows = [LabelRow("line 2", "a.png", "bee|ant"), LabelRow("line 3", "./b.png", "owl"), LabelRow("line 4", "c.png", "")]
    read, problems = with_read_labels(rows, ("ant", "bee"), "many")
    assert [row.label for row in read] == ["ant|bee", "owl", ""]
    assert problems == [Problem("b.png", "the label 'owl' is not in the conf file's labels", "label")]
