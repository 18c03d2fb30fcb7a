"""The file that evaluations write and gates read."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from pipelines.answers import PROBABILITIES, TestAnswers, read_answers, write_answers
from pipelines.core.errors import DataError

HEADER = "id,domain,label,predicted,confidence\n"


def three() -> TestAnswers:
    return TestAnswers(
        ids=np.array(["b", "a", "c"]),
        domains=np.array(["scan, old", "photo", "photo"]),
        labels=np.array(["1", "NA", 'say "x"']),
        predicted=np.array(["1", "null", 'say "x"']),
        confidences=np.array([1 / 3, 0.1, 1.0]),
    )


def test_round_trip_is_exact(tmp_path: Path) -> None:
    write_answers(three(), tmp_path / "predictions.csv")
    back = read_answers(tmp_path / "predictions.csv")
    for name in ("ids", "domains", "labels", "predicted", "confidences"):
        assert getattr(back, name).tolist() == getattr(three(), name).tolist()
    assert back.correct.tolist() == [True, False, True]
    assert back.n == 3


def test_the_same_answers_give_the_same_bytes(tmp_path: Path) -> None:
    write_answers(three(), tmp_path / "one.csv")
    write_answers(read_answers(tmp_path / "one.csv"), tmp_path / "two.csv")
    assert (tmp_path / "one.csv").read_bytes() == (tmp_path / "two.csv").read_bytes()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("", "cannot be read"),
        ("id,label\na,b\n", "with the columns id, label"),
        (HEADER, "answers with 0 ids"),
        (HEADER + "a,d,1,1,0.5\na,d,1,1,0.5\n", "a occurs 2 times"),
        (HEADER + "a,d,1,1,nan\n", "a has the confidence nan"),
        (HEADER + "a,d,1,1,1.5\n", r"a has the confidence 1\.5"),
        (HEADER + "a,d,1,1,high\n", "a confidence that is no number"),
        (HEADER + "a,,1,1,0.5\n", "row 1 has no value in domains"),
        (HEADER + "a,d,1,1,0.5,extra\n", "cannot be read|with the columns|wrong values|no number"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, content: str, message: str) -> None:
    (tmp_path / "predictions.csv").write_text(content)
    with pytest.raises(DataError, match=message):
        read_answers(tmp_path / "predictions.csv")


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be read"):
        read_answers(tmp_path / "predictions.csv")


def test_all_bad_rows_are_listed(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text(HEADER + "a,d,1,1,2\nb,d,1,1,-1\nb,d,,1,1\n")
    with pytest.raises(DataError, match="4 wrong values") as caught:
        read_answers(tmp_path / "predictions.csv")
    assert [finding.where for finding in caught.value.findings] == ["b", "a", "b", "row 3"]


def test_arrays_of_different_lengths_are_refused() -> None:
    with pytest.raises(DataError, match="2 ids, 1 domains"):
        TestAnswers(np.array(["a", "b"]), np.array(["d"]), np.array(["x", "x"]), np.array(["x", "x"]), np.array([0.5, 0.5]))


def test_an_empty_set_is_an_answer_where_labels_are_sets(tmp_path: Path) -> None:
    texts = [np.array(["a", "b"]), np.array(["d", "d"]), np.array(["", "cat|dog"]), np.array(["", ""])]
    answers = TestAnswers(*texts, np.array([0.5, 0.25]), "many")
    assert answers.correct.tolist() == [True, False]
    write_answers(answers, tmp_path / "predictions.csv")
    back = read_answers(tmp_path / "predictions.csv", "many")
    assert (back.labels.tolist(), back.predicted.tolist()) == (["", "cat|dog"], ["", ""])
    with pytest.raises(DataError, match="row 1 has no value in labels"):
        read_answers(tmp_path / "predictions.csv")


def test_an_empty_answer_is_a_wrong_one() -> None:
    """So a champion of a project whose samples had any number of labels is still compared with."""
    answers = TestAnswers(*(np.array([value]) for value in ("a", "d", "1", "")), np.array([0.5]))
    assert not (answers.predicted == answers.labels).any()


def full() -> TestAnswers:
    """With slices and probabilities."""
    return dataclasses.replace(
        three(),
        slices={"scanner": np.array(["x", "", "NA, new"]), "age group": np.array(["1", "2", "3"])},
        probabilities=np.array([[1 / 3, 2 / 3], [0.1, 0.9], [0.0, 1.0]]),
        label_names=("1", "NA"),
    )


def test_slices_and_probabilities_survive_exactly(tmp_path: Path) -> None:
    write_answers(full(), tmp_path / "predictions.csv")
    header = "id,domain,label,predicted,confidence,slice:scanner,slice:age group"
    assert (tmp_path / "predictions.csv").read_text().splitlines()[0] == header
    back = read_answers(tmp_path / "predictions.csv")
    assert {name: values.tolist() for name, values in back.slices.items()} == {
        "scanner": ["x", "", "NA, new"],
        "age group": ["1", "2", "3"],
    }
    assert back.probabilities is not None
    assert back.probabilities.dtype == np.float64
    assert back.probabilities.tolist() == [[1 / 3, 2 / 3], [0.1, 0.9], [0.0, 1.0]]
    assert (back.label_names, back.exclusive) == (("1", "NA"), True)
    (tmp_path / "again").mkdir()
    write_answers(back, tmp_path / "again" / "predictions.csv")
    for name in ("predictions.csv", PROBABILITIES):
        assert (tmp_path / name).read_bytes() == (tmp_path / "again" / name).read_bytes()


def test_an_older_evaluation_has_neither(tmp_path: Path) -> None:
    (tmp_path / "predictions.csv").write_text(HEADER + "a,d,1,1,0.5\n")
    back = read_answers(tmp_path / "predictions.csv")
    assert (dict(back.slices), back.probabilities, back.label_names) == ({}, None, ())


@pytest.mark.parametrize(
    ("probabilities", "message"),
    [
        ([[0.5, 0.5], [0.5, 0.5]], "2 rows of probabilities"),
        ([[0.5, 0.5, 0.0]] * 3, r"the shape \[3, 3\] for 2 different label names"),
        ([0.5, 0.5, 0.5], r"the shape \[3\]"),
        ([[0.5, 0.5], [0.5, 0.4], [0.5, 0.5]], "1 rows of probabilities that are not in .0, 1., and 1 together; the first: a"),
        ([[0.5, 0.5], [-0.5, 1.5], [np.nan, 0.5]], "2 rows of probabilities that are not"),
    ],
)
def test_wrong_probabilities_are_refused(probabilities: list[object], message: str) -> None:
    with pytest.raises(DataError, match=message):
        dataclasses.replace(full(), probabilities=np.array(probabilities))


def test_probabilities_of_labels_that_do_not_exclude_each_other_need_no_sum(tmp_path: Path) -> None:
    """Also those of a champion of another time, in a project whose samples have one label."""
    answers = dataclasses.replace(full(), probabilities=np.array([[0.9, 0.9], [0.1, 0.2], [0.0, 0.0]]), exclusive=False)
    write_answers(answers, tmp_path / "predictions.csv")
    assert not read_answers(tmp_path / "predictions.csv").exclusive


def test_label_names_and_slices_must_fit() -> None:
    with pytest.raises(DataError, match="for 1 different label names"):
        dataclasses.replace(full(), label_names=("1", "1"))
    with pytest.raises(DataError, match="2 values of the column scanner"):
        dataclasses.replace(full(), slices={"scanner": np.array(["x", "y"])})


@pytest.mark.parametrize("kind", ["rubbish", "other tensor", "no metadata", "wrong metadata"])
def test_a_broken_file_of_probabilities_is_refused(tmp_path: Path, kind: str) -> None:
    write_answers(full(), tmp_path / "predictions.csv")
    path = tmp_path / PROBABILITIES
    matrix = {"probabilities": np.full((3, 2), 0.5)}
    if kind == "rubbish":
        path.write_bytes(b"rubbish")
    elif kind == "other tensor":
        save_file({"other": np.zeros(3)}, path, metadata={"labels": "{}"})
    elif kind == "no metadata":
        save_file(matrix, path)
    else:
        save_file(matrix, path, metadata={"labels": "{"})
    with pytest.raises(DataError, match="no file of probabilities"):
        read_answers(tmp_path / "predictions.csv")
