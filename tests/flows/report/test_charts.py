from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flows.learning_report import TrainingCurve
from flows.report.charts import COLOURS, DASHES, MARKERS, Chart, Series, linear_scale, log_scale, share_scale
from flows.report.curves import learning_chart, training_charts

NUMBERS = st.floats(-1e6, 1e6).map(lambda value: round(value, 6))


@given(st.lists(NUMBERS, min_size=1, max_size=10))
def test_a_linear_scale_holds_its_values_and_some_ticks(values: list[float]) -> None:
    scale = linear_scale(values, "x")
    assert scale.low <= min(values) + 1e-9 * abs(min(values))
    assert scale.high >= max(values) - 1e-9 * abs(max(values))
    assert 2 <= len(scale.ticks) <= 9
    assert scale.share(scale.low) == 0
    assert scale.share(scale.high) == 1


@given(st.lists(st.floats(1e-5, 1e6), min_size=1, max_size=10))
def test_equal_ratios_are_equal_lengths(values: list[float]) -> None:
    scale = log_scale(values, "n")
    assert 0 < scale.share(min(values)) < 1 or len(set(values)) == 1
    middle = (scale.low * scale.high) ** 0.5
    assert scale.share(middle) == pytest.approx(0.5)
    assert all(scale.low <= value <= scale.high for value, _ in scale.ticks)


def test_ticks_are_written_as_a_person_would() -> None:
    assert [text for _, text in linear_scale([0, 1], "x", percent=True).ticks] == ["0", "20", "40", "60", "80", "100"]
    assert [text for _, text in linear_scale([0, 3], "x", whole=True).ticks] == ["0", "1", "2", "3"]
    assert [text for _, text in log_scale([100, 2000], "n").ticks] == ["100", "200", "500", "1,000", "2,000"]


def test_places_on_the_page() -> None:
    chart = Chart("c", "t", "a", share_scale("x"), share_scale("y"), (Series("s", ((0.0, 0.0), (1.0, 1.0))),))
    assert (chart.px(0), chart.py(0)) == (chart.left, chart.bottom)
    assert (chart.px(1), chart.py(1)) == (chart.right, chart.top)
    assert chart.path(chart.series[0]) == f"{chart.left},{chart.bottom} {chart.right},{chart.top}"


def luminance(colour: str) -> float:
    parts = [int(colour[start : start + 2], 16) / 255 for start in (1, 3, 5)]
    linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def test_colours_stand_out_from_white_as_wcag_asks_of_graphics_and_none_is_needed() -> None:
    assert all(1.05 / (luminance(colour) + 0.05) >= 3 for colour in COLOURS)
    styles = [(Series("s", (), style=style).marker, Series("s", (), style=style).dash) for style in range(5)]
    assert all(a[0] != b[0] and a[1] != b[1] for a, b in itertools.combinations(styles, 2))
    assert len(MARKERS) == len(DASHES) == len(COLOURS)


def curve(way: str, *losses: float | None) -> TrainingCurve:
    epochs = [
        {"number": number, "train_loss": loss if number else None, "validation_log_loss": loss, "validation_accuracy": 0.5}
        for number, loss in enumerate(losses)
    ]
    return TrainingCurve(way, epochs, 1)


def test_every_way_has_its_line_and_an_overflow_is_left_out() -> None:
    validation, training = training_charts([curve("one", 0.5, 0.4, None), curve("two", 0.5, 0.3, 0.2)])
    assert [len(series.points) for series in validation.series] == [2, 3]
    assert [series.name for series in training.series] == ["one", "two"]
    assert "two: from 0.500 to 0.200" in validation.alt


def test_nothing_is_drawn_of_nothing() -> None:
    assert training_charts([]) == []
    assert training_charts([curve("one", 0.5)]) == []
    assert learning_chart({"points": [{"n": 5}], "n_validation": 10, "fit": {"outcome": "insufficient_data"}}) is None
