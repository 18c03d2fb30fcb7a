from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from pydantic import ValidationError

from benchmarks.digits_traffic import DigitsTraffic, shifted_right
from monitoring.signals.result import SignalResult
from monitoring.signals.run import Strictness, run_signals
from pipelines.core.signals import IMAGE_STATISTICS

STRICT = Strictness(level=0.03, seed=0)


def test_every_signal_once_and_the_level_divided_over_the_families(digits: DigitsTraffic) -> None:
    signals = run_signals(*digits.draw(0, 100), STRICT)
    assert [signal.name for signal in signals] == [
        "embedding",
        "classifier",
        "out_of_distribution",
        "confidence",
        "predicted_class",
        *IMAGE_STATISTICS,
    ]
    for family, n_signals in {"embedding": 3, "softmax": 2, "input": 6}.items():
        thresholds = {signal.threshold for signal in signals if signal.family == family}
        assert thresholds == {0.01 / n_signals}, family  # nothing fell, so every threshold is Bonferroni's
    assert all(signal.drifted == (signal.p_value <= signal.threshold) for signal in signals)


def test_same_seed_same_result_and_another_seed_another(digits: DigitsTraffic) -> None:
    window, reference = digits.draw(1, 100)
    first = run_signals(window, reference, STRICT)
    assert first == run_signals(window, reference, STRICT)
    assert first != run_signals(window, reference, Strictness(level=0.03, seed=1))


def test_one_planted_fault_is_named_by_its_signal(digits: DigitsTraffic) -> None:
    window, reference = digits.draw(2, 150)
    statistics = window.statistics.copy()
    statistics[:, IMAGE_STATISTICS.index("log2_pixels")] += 1
    drifted = [signal.name for signal in run_signals(replace(window, statistics=statistics), reference, STRICT) if signal.drifted]
    assert drifted == ["log2_pixels"]
    probabilities = np.full_like(window.probabilities, 0.05)
    probabilities[np.arange(150), window.predicted_indices] = 0.55
    drifted = [signal.name for signal in run_signals(replace(window, probabilities=probabilities), reference, STRICT) if signal.drifted]
    assert drifted == ["confidence"]
    one_class = replace(window, predicted_indices=np.full(150, 3))
    assert [signal.name for signal in run_signals(one_class, reference, STRICT) if signal.drifted] == ["predicted_class"]


def test_a_shift_that_the_embedding_sees(digits: DigitsTraffic) -> None:
    signals = {signal.name: signal for signal in run_signals(*digits.draw(3, 150, change=shifted_right), STRICT)}
    assert signals["embedding"].drifted
    assert not signals["log2_pixels"].drifted


def test_a_result_cannot_hold_a_p_value_of_zero() -> None:
    fields = {"name": "x", "family": "input", "statistic": 0.0, "threshold": 0.01, "n_reference": 1, "n_window": 1}
    fields |= {"drifted": False, "detail": ""}
    assert SignalResult(p_value=1.0, **fields).p_value == 1.0
    with pytest.raises(ValidationError, match="greater than 0"):
        SignalResult(p_value=0.0, **fields)
