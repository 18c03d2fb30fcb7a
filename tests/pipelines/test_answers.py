"""The file that evaluations write and gates read."""

from pathlib import Path

import numpy as np
import pytest

from pipelines.answers import TestAnswers, read_answers, write_answers
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
