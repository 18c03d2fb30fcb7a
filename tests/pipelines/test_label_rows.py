from __future__ import annotations

import pytest

from pipelines.label_rows import Problem, has_control_character, label_problem, split_problems, usable_rows
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
