from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from monitoring.signals.multiplicity import holm_cutoff


def holm_rejections(p_values: list[float], level: float) -> list[bool]:
    """Holm 1979 by its definition."""
    rejected = [False] * len(p_values)
    for step, place in enumerate(sorted(range(len(p_values)), key=lambda index: p_values[index])):
        if p_values[place] > level / (len(p_values) - step):
            break
        rejected[place] = True
    return rejected


@given(st.lists(st.floats(1e-9, 1) | st.sampled_from([0.01, 0.005, 0.0025]), min_size=1, max_size=8), st.sampled_from([0.01, 0.05]))
def test_one_cutoff_gives_holms_decisions(p_values: list[float], level: float) -> None:
    cutoff = holm_cutoff(p_values, level)
    assert [p_value <= cutoff for p_value in p_values] == holm_rejections(p_values, level)
    assert level / len(p_values) <= cutoff <= level


def test_known_case() -> None:
    assert holm_cutoff([0.01, 0.04, 0.03, 0.005], 0.05) == 0.025  # two of four fall: 0.05 / 2 is where it stopped
    assert holm_cutoff([0.001, 0.001], 0.05) == 0.05
    assert holm_cutoff([1.0, 1.0, 1.0], 0.03) == 0.01
