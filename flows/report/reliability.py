"""Whether confidences are kept: of the answers that were given with 80 % confidence, are 80 % right?"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from flows.records import Accuracy
from flows.report.accuracy import proportion
from flows.report.charts import Bar, Chart, Series, linear_scale, share_scale
from pipelines.answers import TestAnswers

N_BINS = 10


@dataclass(frozen=True)
class ConfidenceBin:
    """Test samples whose confidence lies in [low, high); the last bin has its end, too."""

    low: float
    high: float
    mean_confidence: float
    accuracy: Accuracy


def confidence_bins(answers: TestAnswers) -> list[ConfidenceBin]:
    """Ten bins of equal width, those of the expected calibration error; empty ones are left out."""
    places = np.minimum((answers.confidences * N_BINS).astype(int), N_BINS - 1)
    found = []
    for place in range(N_BINS):
        rows = places == place
        if rows.any():
            accuracy = proportion(int(answers.correct[rows].sum()), int(rows.sum()))
            found.append(ConfidenceBin(place / N_BINS, (place + 1) / N_BINS, float(answers.confidences[rows].mean()), accuracy))
    return found


def reliability_charts(bins: list[ConfidenceBin]) -> tuple[Chart, Chart]:
    """Accuracy over confidence, and how many samples each bin has."""
    points = tuple((one.mean_confidence, one.accuracy.value) for one in bins)
    errors = tuple((one.mean_confidence, one.accuracy.low, one.accuracy.high) for one in bins)
    ideal = Series("as confident as right", ((0.0, 0.0), (1.0, 1.0)), style=4, has_markers=False)
    series = (ideal, Series("this model, 95 % interval", points, errors, has_line=False))
    alt = "; ".join(f"confidence {_percent(x)}: {_percent(y)} right" for x, y in points)
    diagram = Chart("reliability", "Accuracy by confidence", alt, share_scale("confidence (%)"), share_scale("right (%)"), series)
    return diagram, _counts_chart(bins)


def _counts_chart(bins: list[ConfidenceBin]) -> Chart:
    bars = tuple(Bar(one.low, one.high, float(one.accuracy.n), str(one.accuracy.n)) for one in bins)
    # Room for the number on top of the highest.
    counts = linear_scale([0.0, 1.12 * max(bar.height for bar in bars)], "test samples", whole=True)
    alt = "; ".join(f"confidence {_percent(bar.low)} to {_percent(bar.high)}: {bar.text} samples" for bar in bars)
    return Chart("confidence-counts", "Test samples by confidence", alt, share_scale("confidence (%)"), counts, bars=bars)


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
