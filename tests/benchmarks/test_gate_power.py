"""The tables of docs/gates.md are those of the result files, and the result files are those of the gates."""

import numpy as np
import pytest

from benchmarks.gate_power import (
    DOCS,
    ERROR_RATES,
    POWER,
    docs_tables,
    exact_rate,
    fewest_wins,
    highest_count,
    non_inferior_rule,
    read_table,
    with_tables,
)
from pipelines.intervals import clopper_pearson
from pipelines.paired_exact import difference_p_value


def test_the_docs_show_the_result_files() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert with_tables(text, docs_tables(read_table(POWER), read_table(ERROR_RATES))) == text


def test_a_changed_number_is_seen() -> None:
    power = read_table(POWER)
    row = next(row for row in power if row["test"] == "non_inferior" and row["truth"] == "0.0")
    row["promote_rate"] = str(1 - float(row["promote_rate"]))
    text = DOCS.read_text(encoding="utf-8")
    assert with_tables(text, docs_tables(power, read_table(ERROR_RATES))) != text


def test_no_recorded_error_rate_of_a_gate_exceeds_its_statement() -> None:
    errors = read_table(ERROR_RATES)
    assert max(float(row["exact_test"]) for row in errors) <= 0.05
    # Why Tango's asymptotic bound does not decide.
    assert max(float(row["asymptotic_bound"]) for row in errors) > 0.055
    for row in read_table(POWER):
        if float(row["truth"]) == float(row["threshold"]):
            assert float(row["exact_rate"]) <= 0.05, row


def test_drawn_and_summed_rates_agree() -> None:
    for row in read_table(POWER):
        n_draws = int(row["n_draws"])
        n_promoted = round(float(row["promote_rate"]) * n_draws)
        interval = clopper_pearson(n_promoted, n_draws, level=1 - 1e-6)
        assert interval.low - 1e-6 <= float(row["exact_rate"]) <= interval.high + 1e-6, row


@pytest.mark.parametrize(("n", "margin", "discordance", "truth"), [(100, 0.05, 0.1, 0.0), (200, 0.03, 0.05, -0.03)])
def test_recorded_rates_can_be_made_again(n: int, margin: float, discordance: float, truth: float) -> None:
    fewest = fewest_wins(non_inferior_rule(n, margin), highest_count(n, discordance))
    (row,) = [
        row
        for row in read_table(POWER)
        if row["test"] == "non_inferior" and (int(row["n"]), float(row["threshold"])) == (n, -margin)
        if (float(row["discordance"]), float(row["truth"])) == (discordance, truth)
    ]
    assert float(row["exact_rate"]) == pytest.approx(exact_rate(fewest, n, discordance, truth), abs=2e-6)


def test_fewest_wins_is_where_the_rule_first_passes() -> None:
    for n_discordant, fewest in enumerate(fewest_wins(non_inferior_rule(150, 0.03), 12).tolist()):
        passing = [wins for wins in range(n_discordant + 1) if difference_p_value(wins, n_discordant - wins, 150, -0.03) <= 1 - 0.95]
        assert passing == list(np.arange(fewest, n_discordant + 1))
