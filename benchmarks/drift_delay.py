"""Requests after a change until the monitor finds it, for `benchmarks.drift_detection` and `benchmarks.drift_text`."""

from __future__ import annotations

import numpy as np

from benchmarks.drift_traffic import N_WINDOW, Traffic
from benchmarks.real_digits import Answers
from monitoring.alarm_budget import INPUT_SHARE, YEAR, Allowance
from monitoring.decision import judge_window
from monitoring.reference import Reference
from pipelines.config import MonitorSection

# At one false alarm a year, of a monitor that looks every hour.
HOURLY_LEVEL = INPUT_SHARE * 3_600 / YEAR.total_seconds()
CONFIG = MonitorSection(min_window=20)
STEP = 50

Row = dict[str, object]


def delay_rows(traffic: Traffic, own: Answers, pools: dict[str, Answers], longest: int = 1_000, n_streams: int = 5) -> list[Row]:
    """The window of the latest 200 is looked at every 50 requests at the hourly level; requests are the changed ones from the first on.

    Args:
        traffic: Of the endpoint.
        own: Unchanged answers, none of them among the changed ones.
        pools: Changed answers by the name of the change, each at least `longest`.
        longest: Changed requests after which a stream that was not found ends.
        n_streams: Of each change.
    """
    rows = []
    for name, pool in pools.items():
        delays = []
        for seed in range(n_streams):
            rng = np.random.default_rng(seed)
            calm, reference = traffic.drawn(own, N_WINDOW, seed)
            later = pool.rows(rng.permutation(len(pool.true))[:longest])
            stream = Answers.joined(calm, later)
            delays.append(next((n for n in range(STEP, longest + 1, STEP) if _found(traffic, stream, n, reference)), longest + STEP))
        median = float(np.median(delays))
        rows.append(
            {"change": name, "n_streams": n_streams, "median_delay": median, "n_not_found": sum(delay > longest for delay in delays)}
        )
        print(rows[-1], flush=True)
    return rows


def _found(traffic: Traffic, stream: Answers, n_changed: int, reference: Reference) -> bool:
    window = traffic.window(stream.rows(np.arange(n_changed, n_changed + N_WINDOW)))
    return judge_window(window, reference, CONFIG, Allowance(HOURLY_LEVEL, 0.0)).verdict == "drift"
