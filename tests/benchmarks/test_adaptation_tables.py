"""The table in the guide comes from the benchmark's file, and what the text says of it is so."""

from __future__ import annotations

import json

from benchmarks.adaptation_tables import GUIDE, render
from benchmarks.machine import RESULTS
from benchmarks.tables import read


def test_the_table_is_the_file() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert render(text) == text


def test_all_seeds_of_all_pairs_and_methods_are_there() -> None:
    rows = read("domain_adaptation_summary")
    settings = json.loads((RESULTS / "domain_adaptation.json").read_bytes())["settings"]
    assert len(settings["seeds"]) >= 4
    assert {row["n_seeds"] for row in rows} == {str(len(settings["seeds"]))}
    methods = {"source only", "bn", "coral", "dann", "shot", "ceiling"}
    for pair in ("mnist -> usps", "usps -> mnist", "digits -> mnist", "mnist -> scanner"):
        assert {row["method"] for row in rows if row["pair"] == pair} == methods


def test_what_the_text_says() -> None:
    rows = {(row["pair"], row["method"]): row for row in read("domain_adaptation_summary")}
    near = ("mnist -> usps", "usps -> mnist", "digits -> mnist")
    assert all(rows[pair, "shot"]["n_seeds_better"] == rows[pair, "shot"]["n_seeds"] for pair in (*near, "mnist -> scanner"))
    assert all(float(rows[pair, "coral"]["gain_mean"]) < 0 for pair in near)
    assert all(float(rows["mnist -> scanner", way]["target_max"]) < 0.35 for way in ("bn", "coral", "dann", "shot"))
    assert float(rows["mnist -> scanner", "ceiling"]["target_min"]) > 0.9
