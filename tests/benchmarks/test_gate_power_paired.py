"""The tables on macro-F1 and AUROC are those of the result file, and the result file is that of the gate."""

import numpy as np
import pytest
from scipy.stats import binom

from benchmarks.gate_power import DOCS, read_table, with_tables
from benchmarks.gate_power_paired import COMMAND, LEVEL, N_LABELS, RESULTS, SIZES, docs_tables, promotions, situations
from pipelines.intervals import clopper_pearson


def test_the_docs_show_the_result_file() -> None:
    text = DOCS.read_text(encoding="utf-8")
    assert with_tables(text, docs_tables(read_table(RESULTS)), COMMAND) == text


def test_a_changed_number_is_seen() -> None:
    rows = read_table(RESULTS)
    next(row for row in rows if row["truth"] == "0.05")["promote_rate"] = "0.123"
    text = DOCS.read_text(encoding="utf-8")
    assert with_tables(text, docs_tables(rows), COMMAND) != text


def test_no_recorded_error_rate_exceeds_its_statement() -> None:
    border = [row for row in read_table(RESULTS) if row["truth"] == row["threshold"]]
    assert len(border) == len(SIZES) * sum(len(counts) * 2 * 3 for counts in N_LABELS.values())
    for row in border:
        n_draws = int(row["n_draws"])
        assert round(float(row["promote_rate"]) * n_draws) <= binom.isf(1e-5, n_draws, 1 - LEVEL), row
    # Why the usual tests do not decide.
    assert max(float(row["wald_rate"]) for row in border) > 0.2


@pytest.mark.parametrize("number", [0, 4, 9, 12])
@pytest.mark.parametrize("metric", ["macro_f1", "auroc"])
def test_recorded_rates_can_be_made_again(metric: str, number: int) -> None:
    case = [case for name in N_LABELS if name == metric for case in situations(name)][number]
    test, threshold, gain, situation = case
    (row,) = [
        row
        for row in read_table(RESULTS)
        if (row["test"], row["metric"], row["n"], row["losses"]) == (test, metric, "200", situation.losses)
        if (int(row["n_labels"]), float(row["rarest_frac"])) == (situation.n_labels, round(float(situation.frequencies.min()), 6))
        if float(row["truth"]) == (-situation.truth if gain else situation.truth)
    ]
    again = clopper_pearson(promotions(situation, 200, threshold, 150, np.random.default_rng(8), gain=gain)[0], 150, level=1 - 1e-5)
    assert again.low - 0.01 <= float(row["promote_rate"]) <= again.high + 0.01
