from __future__ import annotations

from dataclasses import replace

import numpy as np

from benchmarks.digits_traffic import DigitsTraffic
from monitoring.alarm_budget import Allowance
from monitoring.decision import judge_window
from monitoring.narrowing import MAX_COLUMNS, narrowed
from pipelines.config import MonitorSection


def test_what_is_narrow_stays_as_it_is(digits: DigitsTraffic) -> None:
    window, reference = digits.draw(0, 50)
    assert narrowed(window, reference) == (window, reference)


def test_distances_stay_near_what_they_were(digits: DigitsTraffic) -> None:
    rng = np.random.default_rng(0)
    window, reference = digits.draw(0, 60)
    wide = rng.normal(size=(60, 900)), rng.normal(size=(reference.n_samples, 900))
    now, before = narrowed(replace(window, embeddings=wide[0]), replace(reference, embeddings=wide[1]))
    assert now.embeddings.shape[1] == before.embeddings.shape[1] == MAX_COLUMNS
    scale = np.sqrt(900 / MAX_COLUMNS)  # orthonormal columns keep a share of each squared length
    ratios = scale * np.linalg.norm(now.embeddings - before.embeddings[:60], axis=1) / np.linalg.norm(wide[0] - wide[1][:60], axis=1)
    np.testing.assert_allclose(ratios, 1, atol=0.25)


def test_wide_windows_are_judged(digits: DigitsTraffic) -> None:
    rng = np.random.default_rng(1)
    window, reference = digits.draw(0, 150)
    reference = replace(reference, embeddings=rng.normal(size=(reference.n_samples, 300)))
    moved = judge_window(replace(window, embeddings=rng.normal(size=(150, 300)) + 0.5), reference, MonitorSection(), Allowance(0.01, 0.0))
    calm = judge_window(replace(window, embeddings=rng.normal(size=(150, 300))), reference, MonitorSection(), Allowance(0.01, 0.0))
    assert (moved.verdict, calm.verdict) == ("drift", "ok")
