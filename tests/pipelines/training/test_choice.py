from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from pipelines.training.choice import Choice, Way, choose, nothing_to_gain, paired
from pipelines.training.validation import ValidationResult

LOSS = st.one_of(st.floats(0, 5), st.sampled_from([0.0, 0.25, 1.0]))


def result(losses: list[float] | np.ndarray, accuracy: float | None = None) -> ValidationResult:
    losses = np.asarray(losses, dtype=float)
    correct = losses < math.log(2) if accuracy is None else np.arange(len(losses)) < round(accuracy * len(losses))
    return ValidationResult(float(losses.mean()), float(correct.mean()), losses, correct)


def way(name: str, complexity: int, losses: list[float] | np.ndarray, accuracy: float | None = None) -> Way:
    return Way(name, complexity, result(losses, accuracy))


@st.composite
def tried(draw: st.DrawFn) -> list[Way]:
    n = draw(st.integers(1, 6))
    ways = []
    for number in range(draw(st.integers(1, 5))):
        losses = draw(st.lists(LOSS, min_size=n, max_size=n))
        if draw(st.integers(0, 5)) == 0:
            losses = [draw(st.sampled_from([math.inf, math.nan]))] * n
        ways.append(way(f"way {number}", draw(st.integers(0, 4)), losses, draw(st.sampled_from([0.0, 0.5, 1.0]))))
    return ways


def slow_choice(ways: list[Way], floor: int) -> int:
    """The rule written down again, way by way."""
    reference = ways[floor].result
    allowed = []
    for place, one in enumerate(ways):
        finite = all(math.isfinite(loss) for loss in one.result.losses)
        worse = (math.isfinite(reference.log_loss) and one.result.log_loss > reference.log_loss) or (
            one.result.accuracy < reference.accuracy
        )
        if place == floor or (finite and not worse):
            allowed.append(place)
    finite = [place for place in allowed if math.isfinite(ways[place].result.log_loss)]
    if not finite:
        return floor
    best = min(finite, key=lambda place: (ways[place].result.log_loss, ways[place].complexity, place))
    close = []
    for place in finite:
        differences = [a - b for a, b in zip(ways[place].result.losses, ways[best].result.losses, strict=True)]
        mean = sum(differences) / len(differences)
        if len(differences) == 1:
            error = math.inf
        else:
            error = math.sqrt(sum((d - mean) ** 2 for d in differences) / (len(differences) - 1) / len(differences))
        if place == best or mean <= error + 1e-12:
            close.append(place)
    return min(close, key=lambda place: (ways[place].complexity, ways[place].result.log_loss, place))


@given(tried(), st.data())
def test_it_is_the_rule_and_never_worse_than_the_floor(ways: list[Way], data: st.DataObject) -> None:
    floor = data.draw(st.integers(0, len(ways) - 1))
    choice = choose(ways, floor)
    kept, reference = ways[choice.kept], ways[floor]
    assert [verdict.is_kept for verdict in choice.verdicts].count(True) == 1
    assert choice.verdicts[choice.kept].is_kept
    assert all(verdict.reason for verdict in choice.verdicts)
    if reference.is_usable:
        assert kept.result.log_loss <= reference.result.log_loss
    assert kept.result.accuracy >= reference.result.accuracy
    assert kept.is_usable or not any(one.is_usable for one in ways if one.result.accuracy >= reference.result.accuracy)
    boundary = any(v.against_best and abs(v.against_best.gain - v.against_best.standard_error) < 1e-9 for v in choice.verdicts)
    if not boundary:
        assert choice.kept == slow_choice(ways, floor)


@given(tried(), st.data())
def test_the_order_of_ways_of_different_complexity_does_not_matter(ways: list[Way], data: st.DataObject) -> None:
    ways = [Way(one.name, number, one.result) for number, one in enumerate(ways)]
    shuffled = data.draw(st.permutations(ways))
    first = choose(ways, 0)
    second = choose(shuffled, shuffled.index(ways[0]))
    assert ways[first.kept].name == shuffled[second.kept].name


def kept(choice: Choice) -> str:
    assert choice.reason.endswith(choice.verdicts[choice.kept].reason)
    return choice.reason


def test_a_gain_within_one_standard_error_keeps_the_probe() -> None:
    choice = choose([way("probe", 1, [0.1, 0.5, 0.2, 0.6]), way("lp_ft (2 blocks)", 2, [0.3, 0.1, 0.1, 0.6])], floor=0)
    assert kept(choice) == "kept probe: lp_ft (2 blocks) is better by 0.075 ± 0.125 log loss, no more than one standard error"
    assert choice.verdicts[1].reason == "no simpler than probe, and not shown to be better"


def test_a_shown_gain_keeps_the_better_way() -> None:
    ways = [way("prototype", 0, [0.69] * 4), way("probe", 1, [0.5, 0.6, 0.5, 0.6]), way("lp_ft", 2, [0.1, 0.2, 0.2, 0.1])]
    choice = choose(ways, floor=1)
    assert kept(choice) == "kept lp_ft: it is better than probe by 0.4 ± 0.0408 log loss, more than one standard error"
    assert choice.verdicts[0].reason == "worse than probe on validation: log loss 0.69 against 0.55"
    assert choice.verdicts[1].reason == "the best one is better by 0.4 ± 0.0408 log loss, more than one standard error"


def test_better_by_loss_and_worse_by_accuracy_is_refused() -> None:
    choice = choose([way("probe", 1, [0.5] * 4, accuracy=1.0), way("lp_ft", 2, [0.1] * 4, accuracy=0.75)], floor=0)
    assert choice.kept == 0
    assert choice.verdicts[1].reason == "worse than probe on validation: accuracy 75.00 % against 100.00 %"


def test_a_simpler_way_that_is_as_good_replaces_the_floor() -> None:
    choice = choose([way("prototype", 0, [0.3, 0.4]), way("probe", 1, [0.3, 0.4])], floor=1)
    assert choice.kept == 0
    assert choice.verdicts[1].reason == "no simpler than prototype, and not shown to be better"


def test_of_ways_as_simple_as_each_other_the_better_is_kept() -> None:
    """Prototypes within one standard error of the probe would otherwise replace it wherever there are few validation samples."""
    prototype, probe = way("prototype", 0, [0.3, 0.9, 0.3]), way("probe", 0, [0.5, 0.4, 0.5])
    worse = choose([prototype, probe], floor=1)
    assert kept(worse) == "kept probe: nothing else that was tried is better or simpler"
    better = choose([probe, way("prototype", 0, [0.5, 0.3, 0.5])], floor=0)
    assert kept(better) == "kept prototype: nothing else that was tried is better or simpler"


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5])
def test_few_samples(n: int) -> None:
    ways = [way("probe", 1, [0.6] * n), way("lp_ft", 2, [0.1] * n)]
    assert choose(ways, floor=0).kept == (0 if n == 1 else 1)


def test_one_sample_shows_nothing() -> None:
    choice = choose([way("probe", 1, [0.6]), way("lp_ft", 2, [0.1])], floor=0)
    assert kept(choice) == "kept probe: lp_ft is better by 0.5 ± unknown log loss, no more than one standard error"


@pytest.mark.parametrize("bad", [math.inf, math.nan])
def test_losses_that_are_not_finite(bad: float) -> None:
    choice = choose([way("probe", 1, [0.6, 0.5]), way("lp_ft", 2, [bad, bad])], floor=0)
    assert choice.kept == 0
    assert choice.verdicts[1].reason == "its validation loss is not finite"
    assert choose([way("probe", 1, [bad, bad], 0.0), way("lp_ft", 2, [0.1, 0.2])], floor=0).kept == 1
    assert choose([way("probe", 1, [bad, bad])], floor=0).kept == 0


def test_the_standard_error_is_of_the_paired_differences() -> None:
    rng = np.random.default_rng(0)
    hard = rng.exponential(size=200)
    comparison = paired(hard + 0.1, hard + rng.normal(0, 0.01, 200))
    assert comparison.gain == pytest.approx(0.1, abs=0.005)
    assert comparison.standard_error < 0.002 < hard.std() / math.sqrt(200)


def errors(n_wrong: int, n: int) -> ValidationResult:
    return result([2.0] * n_wrong + [0.0] * (n - n_wrong))


@pytest.mark.parametrize(
    ("n_wrong", "n", "is_over"), [(0, 20, False), (0, 200, True), (1, 200, False), (2, 600, True), (10, 600, False), (0, 1, True)]
)
def test_nothing_to_gain_needs_few_errors_and_enough_samples(n_wrong: int, n: int, is_over: bool) -> None:
    reason = nothing_to_gain(errors(n_wrong, n))
    assert (reason is not None) == is_over
    bound = binom.cdf(n_wrong, n, 0.01)  # at an error rate of 1 % so few errors are this probable
    assert n == 1 or (bound < 1 - 0.8413) == is_over


def test_nothing_to_gain_says_why() -> None:
    assert nothing_to_gain(errors(2, 600)) == (
        "2 of 600 validation samples are wrong: the error rate is below 1 % by one standard error, so even a perfect model would gain less"
    )
