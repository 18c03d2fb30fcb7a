from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.digits_traffic import DigitsTraffic, inverted
from monitoring.alarm_budget import Allowance
from monitoring.bursts import LONGEST_BURST, burst_length
from monitoring.decision import judge_window
from monitoring.reference import Reference
from monitoring.window import Window
from pipelines.config import MonitorSection

Rng = np.random.Generator


def in_bursts(rng: Rng, n_bursts: int, length: int, n_columns: int = 16) -> np.ndarray:
    middles = np.repeat(rng.normal(size=(n_bursts, n_columns)), length, axis=0)
    return middles + 0.1 * rng.normal(size=middles.shape)


def test_independent_requests_count_each() -> None:
    rng = np.random.default_rng(0)
    lengths = [burst_length(rng.normal(size=(int(rng.integers(96, 400)), 8))) for _ in range(300)]
    assert lengths.count(1) >= 297


@pytest.mark.parametrize("length", [3, 5, 10, 20])
def test_bursts_are_about_as_long_as_they_are(length: int) -> None:
    rng = np.random.default_rng(1)
    found = [burst_length(in_bursts(rng, 1_000 // length, length)) for _ in range(20)]
    assert 0.7 * length <= np.median(found) <= 1.3 * length


def test_a_change_in_the_middle_or_a_slow_one_is_no_burst() -> None:
    rng = np.random.default_rng(2)
    changed = rng.normal(size=(400, 8))
    changed[200:] += 5
    assert burst_length(changed) == 1
    assert burst_length(rng.normal(size=(1_000, 8)) + 3 * np.sin(np.arange(1_000) / 160)[:, None]) == 1


def test_few_or_equal_requests_count_each() -> None:
    assert burst_length(np.ones((500, 3))) == 1
    assert burst_length(np.repeat(np.random.default_rng(0).normal(size=(5, 3)), 10, axis=0)) == 1
    assert burst_length(np.zeros((0, 3))) == 1


def test_the_length_is_bounded() -> None:
    assert burst_length(np.cumsum(np.random.default_rng(0).normal(size=(5_000, 4)), axis=0)) <= LONGEST_BURST + 1


def bursty(digits: DigitsTraffic, seed: int, n_bursts: int, length: int) -> tuple[Window, Reference]:
    """Each image is sent several times in a row with a little noise, as frames of a video are."""
    window, reference = digits.draw(seed, n_bursts)
    places = np.repeat(np.arange(n_bursts), length)
    rng = np.random.default_rng(seed)
    noise = 0.05 * window.embeddings.std(axis=0) * rng.normal(size=(len(places), window.embeddings.shape[1]))
    repeated = replace(
        window,
        request_ids=tuple(f"r{number:05d}" for number in range(len(places))),
        times=tuple(window.times[0] for _ in places),
        embeddings=window.embeddings[places] + noise,
        probabilities=window.probabilities[places],
        statistics=window.statistics[places],
        predicted_indices=window.predicted_indices[places],
        domains=("",) * len(places),
        true_labels=(None,) * len(places),
    )
    return repeated, reference


def test_bursts_of_unchanged_inputs_are_no_drift(digits: DigitsTraffic) -> None:
    verdicts = [judge_window(*bursty(digits, seed, 150, 6), MonitorSection(), Allowance(0.01, 0.0)) for seed in range(12)]
    assert [verdict.verdict for verdict in verdicts].count("drift") <= 1
    assert all(4 <= verdict.burst_length <= 8 for verdict in verdicts)


def test_without_the_correction_they_would_be(digits: DigitsTraffic, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("monitoring.decision.burst_length", lambda embeddings: 1)
    verdicts = [judge_window(*bursty(digits, seed, 150, 6), MonitorSection(), Allowance(0.01, 0.0)).verdict for seed in range(6)]
    assert verdicts.count("drift") >= 4


def test_too_few_bursts_are_insufficient_and_the_reason_says_so(digits: DigitsTraffic) -> None:
    verdict = judge_window(*bursty(digits, 0, 40, 5), MonitorSection(), Allowance(0.01, 0.0))
    assert verdict.verdict == "insufficient_data"
    assert f"They come in bursts of alike inputs: {verdict.burst_length} in a row count as one." in verdict.reason


def test_a_change_is_found_through_bursts(digits: DigitsTraffic) -> None:
    window, reference = digits.draw(0, 200, change=inverted)
    places = np.repeat(np.arange(200), 3)
    sent = replace(
        window,
        request_ids=tuple(map(str, range(600))),
        times=(window.times[0],) * 600,
        embeddings=window.embeddings[places],
        probabilities=window.probabilities[places],
        statistics=window.statistics[places],
        predicted_indices=window.predicted_indices[places],
        domains=("",) * 600,
        true_labels=(None,) * 600,
    )
    verdict = judge_window(sent, reference, MonitorSection(), Allowance(0.01, 0.0))
    assert (verdict.verdict, verdict.burst_length) == ("drift", 3)


def test_thinning_keeps_the_newest_and_all_columns_together(digits: DigitsTraffic) -> None:
    window = replace(digits.draw(0, 20)[0], raw_names=tuple(map(str, range(20))))
    thinned = window.every(7)
    assert thinned.raw_names == ("5", "12", "19")
    assert thinned.request_ids == tuple(window.request_ids[place] for place in (5, 12, 19))
    np.testing.assert_array_equal(thinned.embeddings, window.embeddings[[5, 12, 19]])
    assert len(thinned.labelled_answers) == 20
    assert window.every(1) is window
