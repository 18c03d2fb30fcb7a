from __future__ import annotations

import math

import pytest

from pipelines.training.curve import Epoch, best_epoch, stops_early


def curve(*losses: float) -> list[Epoch]:
    return [Epoch(number, None, loss, 0.5) for number, loss in enumerate(losses)]


def test_the_best_epoch_is_the_first_of_equals() -> None:
    assert best_epoch(curve(0.5, 0.3, 0.3, 0.4)) == 1


def test_infinity_is_worse_than_anything_and_null_in_json() -> None:
    assert best_epoch(curve(math.inf, 9.0)) == 1
    assert best_epoch(curve(math.inf, math.inf)) == 0
    assert Epoch(1, 0.5, math.inf, 0.25).as_row() == {
        "number": 1,
        "train_loss": 0.5,
        "validation_log_loss": None,
        "validation_accuracy": 0.25,
    }


@pytest.mark.parametrize(
    ("losses", "patience", "counted_from", "stops"),
    [
        ((1.0, 0.5, 0.6), 2, 0, False),
        ((1.0, 0.5, 0.6, 0.7), 2, 0, True),
        ((1.0, 0.5, 0.6, 0.7), None, 0, False),
        ((1.0, 1.1, 1.2, 1.3), 2, 2, False),
        ((1.0, 1.1, 1.2, 1.3, 1.4), 2, 2, True),
        ((1.0,), 1, 0, False),
    ],
)
def test_early_stopping(losses: tuple[float, ...], patience: int | None, counted_from: int, stops: bool) -> None:
    assert stops_early(curve(*losses), patience, counted_from) is stops
