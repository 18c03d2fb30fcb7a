"""Charts of training and of the learning curve."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from flows.learning_report import TrainingCurve
from flows.records import Accuracy
from flows.report.charts import Chart, Series, linear_scale, log_scale, spread

_N_LINE_POINTS = 40


def training_charts(curves: Sequence[TrainingCurve]) -> list[Chart]:
    """Validation and training loss by epoch, of every way that was trained by gradient."""
    what = (
        ("validation", "validation_log_loss", "Validation log loss", "log loss (nats)"),
        ("training", "train_loss", "Training loss", "loss of the objective"),
    )
    charts = [_training_chart(f"{name}-loss", key, title, unit, curves) for name, key, title, unit in what]
    return [chart for chart in charts if chart is not None]


def _training_chart(name: str, key: str, title: str, unit: str, curves: Sequence[TrainingCurve]) -> Chart | None:
    series = []
    for style, curve in enumerate(curves):
        points = tuple((float(epoch["number"]), float(epoch[key])) for epoch in curve.epochs if epoch[key] is not None)
        if points:
            series.append(Series(curve.way, points, style=style))
    xs, ys = spread(series)
    if len(set(xs)) < 2:
        return None
    alt = "; ".join(f"{one.name}: from {one.points[0][1]:.3f} to {one.points[-1][1]:.3f}" for one in series)
    return Chart(name, title, alt, linear_scale(xs, "epoch", whole=True), linear_scale(ys, unit), tuple(series))


def read_learning_curve(folder: Path) -> dict[str, Any]:
    """`learning_curve.json`, with an `Accuracy` wherever it has an accuracy."""
    curve: dict[str, Any] = json.loads((folder / "learning_curve.json").read_bytes())
    forecast = curve["fit"].get("forecast")
    for point in [*curve["points"], *([forecast] if forecast else [])]:
        point["accuracy"] = Accuracy(n=curve["n_validation"], **point["accuracy"])
    return curve


def learning_chart(curve: dict[str, Any]) -> Chart | None:
    """Error rate over the number of training samples, both in equal ratios, with the law and its forecast; None of a single size."""
    points = curve["points"]
    if len(points) < 2:
        return None
    # A rate of 0 has no place on such an axis: it is drawn where half a sample of the validation split would be.
    least = 0.5 / curve["n_validation"]
    measured = [(float(point["n"]), point["accuracy"]) for point in points]
    rates = [(n, *(max(least, 1 - value) for value in (accuracy.value, accuracy.high, accuracy.low))) for n, accuracy in measured]
    series = [
        Series("measured, 95 % interval", tuple((n, rate) for n, rate, _, _ in rates), tuple((n, low, high) for n, _, low, high in rates))
    ]
    series += _law(curve["fit"], float(points[0]["n"]), least)
    xs, ys = spread(series)
    alt = "; ".join(f"{point['n']} samples: {100 * (1 - point['accuracy'].value):.1f} % wrong" for point in points)
    x, y = log_scale(xs, "training samples"), log_scale(ys, "wrong (%)", percent=True)
    return Chart("learning-curve", "Error of a probe by training samples", alt, x, y, tuple(series))


def _law(fit: dict[str, Any], n_first: float, least: float) -> list[Series]:
    if fit["outcome"] != "fits":
        return []
    forecast, n_largest = fit["forecast"], float(fit["n_largest"])

    def errors(start: float, end: float) -> tuple[tuple[float, float], ...]:
        sizes = np.geomspace(start, end, _N_LINE_POINTS)
        rates = fit["floor"] + fit["scale"] * (sizes / n_largest) ** -fit["exponent"]
        return tuple((float(size), max(least, float(rate))) for size, rate in zip(sizes, rates, strict=True))

    accuracy, n_then = forecast["accuracy"], float(forecast["n"])
    bar = (n_then, max(least, 1 - accuracy.high), max(least, 1 - accuracy.low))
    point = (n_then, max(least, 1 - accuracy.value))
    return [
        Series("power law", errors(n_first, n_then), style=4, has_markers=False),
        Series("forecast, interval", (point,), (bar,), style=1, has_line=False),
    ]
