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


def test_dates_and_times_are_arrivals() -> None:
    for arrival in ("", "2026-11-20", "2026-11-20T10:00:00Z"):
        assert usable_rows([LabelRow("line 2", "a.png", "ant", arrival=arrival)])[1] == []


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
