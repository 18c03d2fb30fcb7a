"""Are the inputs still pictures of anything? A broken camera is no new domain: it raises an alarm of its own and starts no retraining.

Each check marks single requests as broken and asks how many there are. Its null: no more requests are so than the usual share, which is a
fixed tolerance, or what the reference has where that is more. The binomial test is exact for requests that do not depend on each other.
So the level is the chance of an alarm on one such window; it is the same for every window and needs no budget: at 1e-6 a window every
minute for a year raises half a false alarm at most. What is broken is broken in most requests, so the power does not suffer.

Unlike drift, which asks whether inputs are as they were, a check asks whether they still carry information: no change of the domain that
leaves pictures behind (inverted, darker, another scanner) is one (tests/monitoring/test_data_quality.py).

Letters for shapes: m requests, n reference samples, e compact embedding, s input statistics.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from monitoring.reference import Reference
from monitoring.window import Window
from pipelines.core.signals import IMAGE_STATISTICS
from pipelines.intervals import clopper_pearson

# Of one window, over all checks together.
FALSE_ALARM_LEVEL = 1e-6
# Fewer requests are not judged.
MIN_REQUESTS = 50
# Of flat and of blurred pictures some are always allowed; clients send the same input twice more often than that.
TOLERATED_FRAC = {"flat": 0.05, "blurred": 0.05, "repeated": 0.2}
_MEANS = {
    "flat": "show next to nothing (contrast near zero: a dark, covered or dazzled sensor)",
    "blurred": "have no detail (sharpness near zero: a covered or defocused lens)",
    "repeated": "are the same input again (a sensor that stands still)",
}
_STATISTIC = {"flat": "contrast", "blurred": "sharpness"}
# A request is flat or blurred below a quarter of what nearly every reference sample has.
_LOW_QUANTILE, _COLLAPSE_FRAC = 0.005, 0.25
# Two requests are the same input if they are a quarter as far apart as the nearest hundredth of reference pairs.
_NEAR_QUANTILE, _NEAR_FRAC = 0.01, 0.25
# Requests that many apart are compared: bursts, as frames of a video are, belong to traffic.
_PAIR_LAG = 33
_N_REFERENCE_PAIRS = 2_000

Share = Annotated[float, Field(ge=0, le=1)]


class QualityCheck(BaseModel):
    """One way to be broken.

    Attributes:
        name: `flat`, `blurred` or `repeated`.
        n_broken, n: Requests that are so, of so many; of `repeated` pairs of requests.
        usual_frac: Share that is no alarm.
        p_value: Of so many at that share.
        alarm: Whether there are too many.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str
    n_broken: int
    n: int
    usual_frac: Share
    p_value: Share
    alarm: bool


class DataQuality(BaseModel):
    """What the checks say of a window.

    Attributes:
        checks: All of them; empty where the window has fewer than 50 requests.
        level: Chance of an alarm on a window whose inputs are usual, over all checks.
        reason: For people; empty where there is no alarm.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    checks: tuple[QualityCheck, ...]
    level: float = FALSE_ALARM_LEVEL
    reason: str = ""

    @property
    def alarm(self) -> bool:
        """Whether any check found too many."""
        return any(check.alarm for check in self.checks)


@dataclass(frozen=True)
class QualityLimits:
    """What counts as broken, from a reference.

    Attributes:
        lowest: Contrast and sharpness below which a request is flat or blurred, by the check's name; only for statistics that there are.
        nearest: Distance of embeddings up to which two requests are the same input.
        usual_frac: Share that is no alarm, by the check's name.
    """

    lowest: dict[str, float]
    nearest: float
    usual_frac: dict[str, float]

    @classmethod
    def of(cls, reference: Reference) -> QualityLimits:
        """Measures a reference; pairs of its samples are drawn with a fixed seed."""
        columns = _columns(reference.statistics)
        lowest = {name: _COLLAPSE_FRAC * float(np.quantile(values, _LOW_QUANTILE)) for name, values in columns.items()}
        distances = _reference_distances(reference.embeddings)
        nearest = _NEAR_FRAC * float(np.quantile(distances, _NEAR_QUANTILE)) if len(distances) else 0.0
        broken = {name: columns[name] <= limit for name, limit in lowest.items()} | {"repeated": distances <= nearest}
        return cls(lowest, nearest, {name: _usual_frac(name, found) for name, found in broken.items()})


def judge_data_quality(window: Window, limits: QualityLimits) -> DataQuality:
    """Checks a window, whether or not it is large enough for the tests of drift.

    Args:
        window: Requests in the order of their times.
        limits: Of the reference of the same bundle.
    """
    if window.n_requests < MIN_REQUESTS:
        return DataQuality(checks=())
    columns = _columns(window.statistics)
    broken = {name: columns[name] <= limit for name, limit in limits.lowest.items() if name in columns}
    broken["repeated"] = _pair_distances(window.embeddings, _PAIR_LAG) <= limits.nearest
    checks = tuple(_check(name, found, limits.usual_frac[name], FALSE_ALARM_LEVEL / len(broken)) for name, found in broken.items())
    return DataQuality(checks=checks, reason=_reason(checks))


def _check(name: str, broken: NDArray[np.bool_], usual_frac: float, level: float) -> QualityCheck:
    from scipy.stats import binom

    n_broken, n = int(broken.sum()), len(broken)
    p_value = min(1.0, max(0.0, float(binom.sf(n_broken - 1, n, usual_frac)))) if n else 1.0
    return QualityCheck(name=name, n_broken=n_broken, n=n, usual_frac=usual_frac, p_value=p_value, alarm=p_value <= level)


def _reason(checks: tuple[QualityCheck, ...]) -> str:
    parts = [
        f"{check.n_broken} of {check.n} {'pairs of requests' if check.name == 'repeated' else 'requests'} {_MEANS[check.name]};"
        f" up to {100 * check.usual_frac:.0f} % is usual"
        for check in checks
        if check.alarm
    ]
    return f"{'. '.join(parts)}." if parts else ""


def _columns(statistics: NDArray[np.float64]) -> dict[str, NDArray[np.float64]]:
    """The statistics that the checks read, by the check's name; none where the inputs are no images."""
    if statistics.shape[1] != len(IMAGE_STATISTICS):
        return {}
    return {name: statistics[:, IMAGE_STATISTICS.index(column)] for name, column in _STATISTIC.items()}


def _usual_frac(name: str, broken: NDArray[np.bool_]) -> float:
    """The tolerance, or the upper 95 % bound of the reference's own share."""
    measured = clopper_pearson(int(broken.sum()), len(broken)).high if len(broken) else 0.0
    return max(TOLERATED_FRAC[name], min(measured, 1.0))


def _pair_distances(embeddings: NDArray[np.float64], lag: int) -> NDArray[np.float64]:
    """Distances of pairs `lag` apart, each request in one pair at most, so that the pairs of independent requests are independent."""
    lag = min(lag, len(embeddings) // 2)
    if lag == 0:
        return np.empty(0)
    blocks = embeddings[: len(embeddings) // (2 * lag) * 2 * lag].reshape(-1, 2, lag, embeddings.shape[1])
    return np.asarray(np.linalg.norm(blocks[:, 0] - blocks[:, 1], axis=2).ravel())


def _reference_distances(embeddings: NDArray[np.float64]) -> NDArray[np.float64]:
    order = np.random.default_rng(0).permuted(np.tile(np.arange(len(embeddings)), (2, 1)), axis=1)
    first, second = order[:, :_N_REFERENCE_PAIRS]
    different = first != second
    return np.asarray(np.linalg.norm(embeddings[first[different]] - embeddings[second[different]], axis=1))
