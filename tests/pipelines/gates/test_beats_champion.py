"""Every outcome of the comparison with the champion, and the faults that it must see."""

import numpy as np
import pytest
from scipy.stats import binomtest

from pipelines.answers import TestAnswers
from pipelines.config import BeatsChampionGate
from pipelines.core.errors import DataError
from pipelines.gates.beats_champion import Champion, beats_champion, samples_for_a_domain
from pipelines.gates.decision import Decision
from pipelines.paired_exact import difference_p_value


def rule(**changes: object) -> BeatsChampionGate:
    return BeatsChampionGate.model_validate({"kind": "beats_champion", "without_champion": "refuse", **changes})


class Case:
    """Domains of given sizes, each with its wins and losses."""

    def __init__(self, answers, outcome, **domains: tuple[int, int, int]) -> None:
        parts = [outcome(*counts) for counts in domains.values()]
        names = np.repeat(list(domains), [counts[2] for counts in domains.values()])
        self.candidate: TestAnswers = answers(np.concatenate([part[0] for part in parts]), names)
        self.champion = Champion(answers(np.concatenate([part[1] for part in parts]), names), ("cat",))

    def decide(self, gate: BeatsChampionGate | None = None, *drifted: str) -> dict[str, Decision]:
        decisions = beats_champion(gate or rule(), self.candidate, self.champion, drifted_domains=drifted)
        assert len({decision.condition for decision in decisions}) == len(decisions)
        return {decision.condition.split(" on ")[1].split(" with ")[0]: decision for decision in decisions}


@pytest.fixture
def case(answers, outcome):
    return lambda **domains: Case(answers, outcome, **domains)


@pytest.mark.parametrize(("without_champion", "expected"), [("pass", "pass"), ("refuse", "refuse")])
def test_a_first_run_gets_what_the_conf_file_says(answers, without_champion: str, expected: str) -> None:
    (decision,) = beats_champion(rule(without_champion=without_champion), answers([True] * 50), None)
    assert (decision.outcome, decision.statistic, decision.n) == (expected, None, 50)
    assert f"without_champion: {without_champion}" in decision.reason


def test_an_unreadable_champion_refuses_even_where_a_first_run_would_pass(answers) -> None:
    (decision,) = beats_champion(rule(without_champion="pass"), answers([True] * 50), None, champion_error="weights.safetensors changed.")
    assert decision.outcome == "refuse"
    assert decision.reason.endswith("weights.safetensors changed.")


def test_a_better_candidate_passes(case) -> None:
    decision = case(default=(30, 10, 450)).decide()["all test samples"]
    assert decision.outcome == "pass"
    assert decision.p_value == difference_p_value(30, 10, 450, -0.03)
    assert decision.statistic == pytest.approx(20 / 450)
    assert decision.low > 0
    assert decision.detail["n_wins"] == 30
    assert decision.reason.startswith("of 450 samples 30 became right and 10 became wrong, +4.44 points; at 95 % confidence")


def test_a_worse_candidate_is_refused(case) -> None:
    decision = case(default=(5, 45, 450)).decide()["all test samples"]
    assert decision.outcome == "refuse"
    assert decision.high < -0.03
    assert "the candidate lost more than that" in decision.reason


def test_an_uncertain_candidate_is_refused_and_told_so(case) -> None:
    decision = case(default=(25, 28, 450)).decide()["all test samples"]
    assert decision.outcome == "refuse"
    assert decision.low < -0.03 < decision.statistic
    assert "within the margin, but not surely so" in decision.reason


def test_a_tie_is_not_worse_but_not_better_either(case) -> None:
    decisions = case(default=(0, 0, 450)).decide(rule(), "default")
    assert decisions["all test samples"].outcome == "pass"
    assert decisions["the drifted domain default"].outcome == "refuse"
    assert decisions["the drifted domain default"].p_value == 1


def test_a_small_test_set_is_no_data(case) -> None:
    decision = case(default=(9, 0, 29)).decide()["all test samples"]
    assert (decision.outcome, decision.n) == ("insufficient_data", 29)
    assert "the gate asks for 30" in decision.reason


def test_a_test_set_on_which_no_equal_model_could_pass_is_no_data(case) -> None:
    decision = case(default=(1, 1, 60)).decide()["all test samples"]
    assert decision.outcome == "insufficient_data"
    assert "below 99 samples not even equal answers show it" in decision.reason
    assert case(default=(0, 9, 60)).decide()["all test samples"].outcome == "refuse"
    assert case(default=(15, 0, 60)).decide()["all test samples"].outcome == "pass"


def test_a_loss_on_one_domain_is_not_hidden_by_a_gain_on_another(case) -> None:
    decisions = case(photo=(80, 0, 600), scan=(2, 20, 200)).decide()
    assert decisions["all test samples"].outcome == "pass"
    assert decisions["the domain photo"].outcome == "pass"
    assert decisions["the domain scan"].outcome == "refuse"


def test_one_domain_is_tested_once(case) -> None:
    assert list(case(photo=(3, 3, 450)).decide()) == ["all test samples"]


def test_small_domains_are_tested_together_and_each_for_harm(case) -> None:
    decisions = case(photo=(20, 10, 600), a=(1, 0, 50), b=(1, 1, 60), c=(0, 0, 40)).decide()
    pooled = decisions["the 3 domains"]
    assert (pooled.outcome, pooled.n, pooled.detail["n_wins"]) == ("pass", 150, 2)
    assert "fewer than 99 samples together (a, b, c)" in pooled.condition
    for name, n in (("a", 50), ("b", 60), ("c", 40)):
        assert (decisions[f"the small domain {name}"].outcome, decisions[f"the small domain {name}"].n) == ("pass", n)


def test_small_domains_must_pass_together(case) -> None:
    assert case(photo=(60, 10, 600), a=(0, 4, 80), b=(0, 3, 80)).decide()["the 2 domains"].outcome == "refuse"


def test_harm_on_a_small_domain_refuses(case) -> None:
    decisions = case(photo=(60, 10, 900), fax=(0, 9, 60)).decide()
    assert decisions["all test samples"].outcome == "pass"
    assert decisions["the small domain fax"].outcome == "refuse"
    assert "a loss beyond the margin" in decisions["the small domain fax"].reason
    assert "the 1 domains" not in decisions


def test_a_handful_of_samples_of_a_new_domain_does_not_stop_everything(case) -> None:
    decisions = case(photo=(20, 10, 600), fax=(0, 1, 3)).decide()
    assert {decision.outcome for decision in decisions.values()} == {"pass"}


def test_harm_tests_share_their_error(case) -> None:
    # p is 0.02 for a loss of 4 in 25 at a margin of 3 points: shown where it is the only small domain, not where it is one of ten.
    p_value = difference_p_value(4, 0, 25, 0.03)
    assert 0.005 < p_value < 0.05
    alone = case(photo=(40, 0, 600), fax=(0, 4, 25)).decide()["the small domain fax"]
    many = case(photo=(40, 0, 600), fax=(0, 4, 25), **{f"d{number}": (0, 0, 20) for number in range(9)}).decide()["the small domain fax"]
    assert (alone.outcome, many.outcome) == ("refuse", "pass")
    assert alone.detail["p_value_of_worse"] == many.detail["p_value_of_worse"] == p_value
    assert many.detail["refused_at_p_value"] == pytest.approx(0.005)


def test_samples_that_a_domain_needs() -> None:
    assert samples_for_a_domain(rule()) == 99
    assert samples_for_a_domain(rule(min_n=120)) == 120
    assert samples_for_a_domain(rule(margin=0.0, min_n=40)) == 40


def test_drift_asks_for_a_gain_on_the_drifted_domain(case) -> None:
    decisions = case(photo=(10, 10, 600), scan=(12, 3, 120)).decide(rule(), "scan")
    superior = decisions["the drifted domain scan"]
    assert superior.outcome == "pass"
    assert superior.p_value == pytest.approx(binomtest(12, 15, 0.5, alternative="greater").pvalue)
    refused = case(photo=(10, 10, 600), scan=(9, 6, 120)).decide(rule(), "scan")["the drifted domain scan"]
    assert refused.outcome == "refuse"
    assert "and at most 0.05 is asked for" in refused.reason


def test_without_drift_no_gain_is_asked_for(case) -> None:
    assert not any("drifted" in condition for condition in case(photo=(0, 0, 600), scan=(0, 0, 120)).decide())


def test_a_drifted_domain_with_few_or_no_samples_is_no_data(case) -> None:
    decisions = case(photo=(10, 10, 600), scan=(12, 0, 20)).decide(rule(), "scan", "fax", "scan")
    assert (decisions["the drifted domain scan"].outcome, decisions["the drifted domain scan"].n) == ("insufficient_data", 20)
    assert (decisions["the drifted domain fax"].outcome, decisions["the drifted domain fax"].n) == ("insufficient_data", 0)


def test_each_drifted_domain_needs_its_own_gain(case) -> None:
    decisions = case(scan=(60, 0, 300), fax=(3, 3, 300)).decide(rule(), "scan", "fax")
    assert decisions["the drifted domain scan"].outcome == "pass"
    assert decisions["the drifted domain fax"].outcome == "refuse"


def test_new_labels_do_not_hide_a_loss_on_the_old_ones(answers, outcome) -> None:
    """50 sure wins on a label that the champion has not, and 40 losses on those that it has."""
    labels = np.repeat(["cat", "lynx"], [400, 50])
    candidate = answers(np.concatenate([outcome(0, 40, 400)[0], np.ones(50, dtype=bool)]), labels=labels)
    champion_right = np.concatenate([outcome(0, 40, 400)[1], np.zeros(50, dtype=bool)])
    knows_all = beats_champion(rule(), candidate, Champion(answers(champion_right, labels=labels), ("cat", "lynx")))
    knows_cats = beats_champion(rule(), candidate, Champion(answers(champion_right, labels=labels), ("cat", "dog")))
    assert knows_all[0].outcome == "pass"
    assert (knows_cats[0].outcome, knows_cats[0].n) == ("refuse", 400)
    assert "a label that the champion knows (50 have none)" in knows_cats[0].condition


def test_new_labels_count_as_a_gain_on_a_drifted_domain(answers) -> None:
    labels = np.repeat(["cat", "lynx"], [400, 50])
    domains = np.repeat(["photo", "scan"], [400, 50])
    candidate = answers(np.ones(450, dtype=bool), domains, labels)
    champion = Champion(answers(labels == "cat", domains, labels), ("cat",))
    decisions = beats_champion(rule(), candidate, champion, drifted_domains=["scan"])
    assert [(decision.detail["test"], decision.outcome, decision.n) for decision in decisions] == [
        ("non_inferior", "pass", 400), ("superior", "pass", 50),
    ]  # fmt: skip


def test_a_champion_without_any_of_the_labels_is_no_data(answers) -> None:
    champion = Champion(answers([False] * 200), ("dog",))
    (decision,) = beats_champion(rule(), answers([True] * 200), champion)
    assert (decision.outcome, decision.n) == ("insufficient_data", 0)


def test_a_champion_with_other_ids_is_refused(answers) -> None:
    with pytest.raises(DataError, match="different test samples"):
        beats_champion(rule(), answers([True] * 200), Champion(answers([True] * 199), ("cat",)))


def test_a_margin_of_nothing_asks_for_a_gain(case) -> None:
    assert case(default=(0, 0, 450)).decide(rule(margin=0.0))["all test samples"].outcome == "refuse"
    assert case(default=(12, 1, 450)).decide(rule(margin=0.0))["all test samples"].outcome == "pass"


@pytest.mark.parametrize("level", [0.9, 0.95, 0.99])
@pytest.mark.parametrize("wins", range(1, 40, 6))
def test_outcome_bound_and_p_value_agree(case, wins: int, level: float) -> None:
    decision = case(default=(wins, 20, 450)).decide(rule(level=level))["all test samples"]
    assert (decision.outcome == "pass") == (decision.p_value <= 1 - level) == (decision.low >= -0.03)
    assert decision.low <= decision.statistic <= decision.high
