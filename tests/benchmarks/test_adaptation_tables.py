"""The table in the guide comes from the benchmark's file, and what the text says of it is so."""

from __future__ import annotations

import json

import pandas as pd
import pytest

from benchmarks.adaptation_tables import GUIDE, render
from benchmarks.domain_adaptation.settings import SETTINGS
from benchmarks.machine import RESULTS
from benchmarks.tables import read


def test_the_table_is_the_file() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert render(text) == text


def test_every_method_of_a_pair_has_the_same_draws() -> None:
    rows = read("domain_adaptation_summary")
    for setting in SETTINGS:
        for pair in (" -> ".join(pair) for pair in setting.pairs):
            draws = {row["method"]: row["n_seeds"] for row in rows if row["pair"] == pair}
            if draws:
                assert set(draws) == {"source only", *setting.ways, "ceiling"}
                assert len(set(draws.values())) == 1
    assert all(int(row["n_seeds"]) >= 4 for row in rows if row["pair"] == "mnist -> usps")
    described = json.loads((RESULTS / "domain_adaptation.json").read_bytes())["settings"]
    assert described == json.loads(json.dumps({setting.name: setting.described() for setting in SETTINGS}))


def test_the_summary_is_that_of_the_draws() -> None:
    """Means and counts by pandas, apart from the benchmark's own way."""
    draws = pd.read_csv(RESULTS / "domain_adaptation.csv")
    plain = draws[draws.method == "source only"].set_index(["pair", "seed"]).target_accuracy
    draws["gain"] = draws.target_accuracy - draws.set_index(["pair", "seed"]).index.map(plain.to_dict())
    for row in read("domain_adaptation_summary"):
        of_row = draws[(draws.pair == row["pair"]) & (draws.method == row["method"])]
        assert float(row["target_mean"]) == pytest.approx(of_row.target_accuracy.mean(), abs=1e-4)
        assert float(row["gain_mean"]) == pytest.approx(of_row.gain.mean(), abs=1e-4)
        assert int(row["n_seeds_better"]) == int((of_row.gain > 1e-9).sum())
        assert int(row["n_seeds"]) == of_row.seed.nunique() == len(of_row)


def test_what_the_text_says() -> None:
    rows = {(row["pair"], row["method"]): row for row in read("domain_adaptation_summary")}
    near = ("mnist -> usps", "usps -> mnist", "digits -> mnist")
    assert all(rows[pair, "shot"]["n_seeds_better"] == rows[pair, "shot"]["n_seeds"] for pair in (*near, "mnist -> scanner"))
    assert all(float(rows[pair, "coral"]["gain_mean"]) < 0 for pair in near)
    assert all(float(rows["mnist -> scanner", way]["target_max"]) < 0.35 for way in ("bn", "coral", "dann", "shot"))
    assert float(rows["mnist -> scanner", "ceiling"]["target_min"]) > 0.9
    books = [rows["books -> electronics", way] for way in ("coral", "dann", "shot")]
    assert all(abs(float(row["gain_mean"])) <= 0.01 for row in books)
    assert float(rows["books -> electronics", "ceiling"]["gain_mean"]) <= 0.03
    for pair in ("not george -> george", "not yweweler -> yweweler"):
        gains = {way: float(rows[pair, way]["gain_mean"]) for way in ("bn", "coral", "dann", "shot")}
        assert gains["dann"] > 0.1
        assert gains["shot"] == min(gains.values()) < -0.08
        assert max(gains["bn"], gains["coral"]) < 0
        assert float(rows[pair, "source only"]["target_mean"]) < 0.4
