from __future__ import annotations

import numpy as np
import pytest
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix

from flows.report.accuracy import MAX_CONFUSION_LABELS, MAX_ROWS, confusion, slice_tables
from flows.report.reliability import confidence_bins
from pipelines.answers import TestAnswers
from pipelines.evaluate import expected_calibration_error


def answers(n: int, n_labels: int = 3, seed: int = 0, **changes: object) -> TestAnswers:
    rng = np.random.default_rng(seed)
    labels = np.array([f"l{value}" for value in rng.integers(0, n_labels, n)])
    predicted = np.where(rng.random(n) < 0.7, labels, np.array([f"l{value}" for value in rng.integers(0, n_labels, n)]))
    values: dict[str, object] = {
        "ids": np.array([f"{place:05d}" for place in range(n)]),
        "domains": np.array(["a", "b"])[rng.integers(0, 2, n)],
        "labels": labels,
        "predicted": predicted,
        "confidences": rng.random(n),
        "slices": {"site": np.array(["", "north", "south"])[rng.integers(0, 3, n)]},
    }
    return TestAnswers(**(values | changes))  # type: ignore[arg-type]


def test_each_row_counts_its_own_samples() -> None:
    candidate, champion = answers(200), answers(200, seed=0)
    tables = {table.column: table for table in slice_tables(candidate, champion)}
    assert list(tables) == ["all test samples", "domain", "label", "site"]
    assert [row.value for row in tables["site"].rows] == ["(none)", "north", "south"]
    for column, values in (("domain", candidate.domains), ("label", candidate.labels), ("site", candidate.slices["site"])):
        for row in tables[column].rows:
            chosen = values == row.value.replace("(none)", "")
            assert row.candidate.n == chosen.sum()
            assert row.candidate.value == pytest.approx(candidate.correct[chosen].mean())
            assert row.champion == row.candidate


def test_the_champion_is_taken_by_sample_and_not_by_place() -> None:
    candidate = answers(50)
    order = np.random.default_rng(1).permutation(50)
    shuffled = TestAnswers(*(getattr(candidate, name)[order] for name in ("ids", "domains", "labels", "predicted", "confidences")))
    assert all(row.champion == row.candidate for table in slice_tables(candidate, shuffled) for row in table.rows)
    assert slice_tables(candidate, answers(49))[0].rows[0].champion is None


def test_of_many_values_the_least_accurate_are_shown() -> None:
    candidate = answers(400, slices={"writer": np.array([f"w{place % 100}" for place in range(400)])})
    table = slice_tables(candidate, None)[-1]
    assert (len(table.rows), table.n_values) == (MAX_ROWS, 100)
    shown = [row.candidate.value for row in table.rows]
    assert shown == sorted(shown)
    assert shown[0] == min(candidate.correct.reshape(4, 100).mean(axis=0))


def test_the_matrix_is_scikit_learns() -> None:
    candidate = answers(300, 5)
    found = confusion(candidate, ["l4", "l3", "l2", "l1", "l0"])
    assert found is not None
    assert np.array_equal(found.counts, confusion_matrix(candidate.labels, candidate.predicted, labels=list(found.labels)))
    counts = [count for _, _, count in found.pairs]
    assert counts == sorted(counts, reverse=True)
    assert all(true != said for true, said, _ in found.pairs)


def test_labels_that_the_model_does_not_know_have_their_row() -> None:
    candidate = answers(60, 4)
    found = confusion(candidate, ["l0", "l1", "l2"] + (["l3"] if "l3" in candidate.predicted else []))
    assert found is not None
    assert sum(map(sum, found.counts)) == 60


def test_too_many_labels_are_a_list_of_pairs() -> None:
    found = confusion(answers(500, MAX_CONFUSION_LABELS + 5), [f"l{place}" for place in range(MAX_CONFUSION_LABELS + 5)])
    assert found is not None
    assert found.labels == ()
    assert found.pairs


def test_bins_are_scikit_learns_and_their_distances_are_the_calibration_error() -> None:
    candidate = answers(500)
    bins = confidence_bins(candidate)
    right, said = calibration_curve(candidate.correct, candidate.confidences, n_bins=10)
    assert [one.accuracy.value for one in bins] == pytest.approx(right)
    assert [one.mean_confidence for one in bins] == pytest.approx(said)
    error = sum(one.accuracy.n * abs(one.accuracy.value - one.mean_confidence) for one in bins) / 500
    assert error == pytest.approx(expected_calibration_error(candidate.confidences, candidate.correct))


def test_a_confidence_of_one_is_in_the_last_bin() -> None:
    bins = confidence_bins(answers(3, confidences=np.array([1.0, 0.95, 0.0])))
    assert [(one.low, one.accuracy.n) for one in bins] == [(0.0, 1), (0.9, 2)]
