"""All signals of a window, with thresholds that keep the false-alarm rate of the whole."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.reference import Reference
from monitoring.signals.distribution import class_count_test, kolmogorov_smirnov_test
from monitoring.signals.embedding import discrepancy_test
from monitoring.signals.label_shares import label_share_test
from monitoring.signals.multiplicity import holm_cutoff
from monitoring.signals.result import Family, SignalResult
from monitoring.window import Window
from pipelines.config import MonitorSection
from pipelines.core.signals import IMAGE_STATISTICS

N_FAMILIES = 3
# As in the configuration: ten times finer than the smallest threshold that a p-value must get below.
_PERMUTATIONS_PER_LEVEL = 10


@dataclass(frozen=True)
class _Untested:
    """A signal before its family's threshold is known."""

    name: str
    statistic: float
    p_value: float
    detail: str
    n_reference: int
    n_window: int


def run_signals(window: Window, reference: Reference, config: MonitorSection) -> tuple[SignalResult, ...]:
    """Tests embeddings, softmax outputs and input statistics.

    The level is divided by the number of families, so that six input statistics cost the embedding no power, and by Holm within one.

    Args:
        window: At least one request.
        reference: Of the same bundle.
        config: `false_alarm_rate` over all signals, `n_permutations`, `seed`.
    """
    level = config.false_alarm_rate / N_FAMILIES
    families: dict[Family, list[_Untested]] = {
        "embedding": [_embedding(window, reference, config)],
        "softmax": [_confidence(window, reference, config), _predicted_classes(window, reference, config)],
        "input": [_input_statistic(window, reference, config, column) for column in range(reference.statistics.shape[1])],
    }
    return tuple(result for family, signals in families.items() for result in _with_threshold(family, signals, level))


def statistic_names(n_statistics: int) -> tuple[str, ...]:
    """Names of the input statistics' columns."""
    return tuple(IMAGE_STATISTICS[index] if index < len(IMAGE_STATISTICS) else f"statistic_{index}" for index in range(n_statistics))


def _with_threshold(family: Family, signals: list[_Untested], level: float) -> list[SignalResult]:
    cutoff = holm_cutoff([signal.p_value for signal in signals], level)
    return [
        SignalResult(
            name=signal.name,
            family=family,
            statistic=signal.statistic,
            p_value=signal.p_value,
            threshold=cutoff,
            n_reference=signal.n_reference,
            n_window=signal.n_window,
            drifted=signal.p_value <= cutoff,
            detail=signal.detail,
        )
        for signal in signals
    ]


def _generator(config: MonitorSection, name: str) -> np.random.Generator:
    # One stream a signal: a signal that comes or goes leaves the others' p-values alone.
    return np.random.default_rng([config.seed, zlib.crc32(name.encode())])


def _n_permutations(config: MonitorSection, n_signals: int) -> int:
    return max(config.n_permutations, math.ceil(_PERMUTATIONS_PER_LEVEL * N_FAMILIES * n_signals / config.false_alarm_rate))


def _embedding(window: Window, reference: Reference, config: MonitorSection) -> _Untested:
    result = discrepancy_test(reference.embeddings, window.embeddings, config.n_permutations, _generator(config, "embedding"))
    detail = f"maximum mean discrepancy, Gaussian kernel of bandwidth {result.bandwidth:.4g} (median distance), permuted"
    return _Untested("embedding", result.statistic, result.p_value, detail, result.n_reference, result.n_window)


def _confidence(window: Window, reference: Reference, config: MonitorSection) -> _Untested:
    return _number("confidence", reference.confidences, window.confidences, config, n_signals=2)


def _predicted_classes(window: Window, reference: Reference, config: MonitorSection) -> _Untested:
    name = "predicted_class"
    n_permutations, rng = _n_permutations(config, 2), _generator(config, name)
    if reference.thresholds is None:
        result = class_count_test(reference.predicted_indices, window.predicted_indices, n_permutations, rng)
    else:
        result = label_share_test(reference.predicted, window.predicted, n_permutations, rng)
    return _Untested(name, result.statistic, result.p_value, result.method, reference.n_samples, window.n_requests)


def _input_statistic(window: Window, reference: Reference, config: MonitorSection, column: int) -> _Untested:
    n_statistics = reference.statistics.shape[1]
    name = statistic_names(n_statistics)[column]
    return _number(name, reference.statistics[:, column], window.statistics[:, column], config, n_signals=n_statistics)


def _number(name: str, reference: NDArray[np.float64], window: NDArray[np.float64], config: MonitorSection, n_signals: int) -> _Untested:
    result = kolmogorov_smirnov_test(reference, window, _n_permutations(config, n_signals), _generator(config, name))
    return _Untested(name, result.statistic, result.p_value, result.method, len(reference), len(window))
