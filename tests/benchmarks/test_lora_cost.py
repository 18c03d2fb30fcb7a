"""The benchmark's arithmetic; its measurement needs the extra text-offline and minutes."""

from __future__ import annotations

import pytest

from benchmarks.lora_cost import Watch


def test_steps_are_timed_without_each_epochs_first(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two epochs of three steps; what lies before steps 1 and 4 is validation, and the end is told twice."""
    ends = iter([10.0, 11.0, 13.0, 40.0, 41.5, 43.5, 99.0])
    monkeypatch.setattr("benchmarks.lora_cost.time.perf_counter", lambda: next(ends))
    watch = Watch()
    watch("features", 1, 6)
    for done in (1, 2, 3, 4, 5, 6, 6):
        watch("fine-tuning", done, 6)
    assert watch.seconds(n_steps_of_epoch=3) == [1.0, 2.0, 1.5, 2.0]
