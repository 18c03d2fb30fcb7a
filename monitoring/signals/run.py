"""All signals of a window, with thresholds that keep the false-alarm rate of the whole."""

from __future__ import annotations

import math
import zlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.reference import Reference
from monitoring.signals.classifier import classifier_test
from monitoring.signals.distribution import DistributionTest, class_count_test, kolmogorov_smirnov_test
from monitoring.signals.embedding import discrepancy_test
from monitoring.signals.label_shares import label_share_test
from monitoring.signals.multiplicity import holm_cutoff
from monitoring.signals.novelty import far_share_test, novelty_scores
from monitoring.signals.permutation import MAX_PERMUTATIONS
from monitoring.signals.result import Family, SignalResult
from monitoring.window import Window

N_FAMILIES = 3
OUT_OF_DISTRIBUTION = "out_of_distribution"
N_EMBEDDING_SIGNALS = 3
# Four times finer than the smallest threshold that a p-value must get below, as far as MAX_PERMUTATIONS goes: up to three permutations
# may reach the statistic by luck.
_PERMUTATIONS_PER_LEVEL = 4


@dataclass(frozen=True)
class Strictness:
    """How the signals of one window are tested.

    Attributes:
        level: Chance that any signal is called drifted on unchanged traffic.
        seed: Of subsamples and permutations.
        window_id: Mixed into the seed: an unlucky split of the reference is not met again by every window.
    """

    level: float
    seed: int
    window_id: str = ""

    def generator(self, name: str) -> np.random.Generator:
        """One stream a signal: a signal that comes or goes leaves the others' p-values alone."""
        return np.random.default_rng([self.seed, zlib.crc32(name.encode()), zlib.crc32(self.window_id.encode())])

    def n_permutations(self, n_signals: int) -> int:
        """For a family of so many signals."""
        return min(MAX_PERMUTATIONS, math.ceil(_PERMUTATIONS_PER_LEVEL * N_FAMILIES * n_signals / self.level))


@dataclass(frozen=True)
class _Untested:
    """A signal before its family's threshold is known."""

    name: str
    statistic: float
    p_value: float
    detail: str
    n_reference: int
    n_window: int


def run_signals(window: Window, reference: Reference, strictness: Strictness) -> tuple[SignalResult, ...]:
    """Tests embeddings, softmax outputs and input statistics.

    The level is divided by the number of families, so that many input statistics cost the embedding no power, and by Holm within one.

    Args:
        window: At least two requests.
        reference: Of the same bundle; at least two samples.
        strictness: Level over all signals, and seed.
    """
    level = strictness.level / N_FAMILIES
    families: dict[Family, list[_Untested]] = {
        "embedding": _embedding_signals(window, reference, strictness),
        "softmax": [_confidence(window, reference), _predicted_classes(window, reference, strictness)],
        "input": [_input_statistic(window, reference, column) for column in range(reference.statistics.shape[1])],
    }
    return tuple(result for family, signals in families.items() for result in _with_threshold(family, signals, level))


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


def _embedding_signals(window: Window, reference: Reference, strictness: Strictness) -> list[_Untested]:
    sides = reference.embeddings, window.embeddings
    discrepancy = discrepancy_test(*sides, strictness.n_permutations(N_EMBEDDING_SIGNALS), strictness.generator("embedding"))
    moved_together = f"bins of {discrepancy.bin_size} permuted" if discrepancy.bin_size > 1 else "permuted"
    detail = f"maximum mean discrepancy, Gaussian kernels around bandwidth {discrepancy.bandwidth:.4g} (median distance), {moved_together}"
    compared = discrepancy.n_reference, discrepancy.n_window
    scores = novelty_scores(*sides, strictness.generator(OUT_OF_DISTRIBUTION))
    return [
        _Untested("embedding", discrepancy.statistic, discrepancy.p_value, detail, *compared),
        _tested("classifier", classifier_test(*sides, strictness.generator("classifier")), reference.n_samples, window.n_requests),
        _tested(OUT_OF_DISTRIBUTION, far_share_test(scores), len(scores.reference), window.n_requests),
    ]


def _tested(name: str, result: DistributionTest, n_reference: int, n_window: int) -> _Untested:
    return _Untested(name, result.statistic, result.p_value, result.method, n_reference, n_window)


def _confidence(window: Window, reference: Reference) -> _Untested:
    return _number("confidence", reference.confidences, window.confidences)


def _predicted_classes(window: Window, reference: Reference, strictness: Strictness) -> _Untested:
    name = "predicted_class"
    n_permutations, rng = strictness.n_permutations(2), strictness.generator(name)
    if reference.thresholds is None:
        result = class_count_test(reference.predicted_indices, window.predicted_indices, n_permutations, rng)
    else:
        result = label_share_test(reference.predicted, window.predicted, n_permutations, rng)
    return _tested(name, result, reference.n_samples, window.n_requests)


def _input_statistic(window: Window, reference: Reference, column: int) -> _Untested:
    name = reference.statistic_names[column]
    return _number(name, reference.statistics[:, column], window.statistics[:, column])


def _number(name: str, reference: NDArray[np.float64], window: NDArray[np.float64]) -> _Untested:
    return _tested(name, kolmogorov_smirnov_test(reference, window), len(reference), len(window))
