"""Numbers in the decision record come from the benchmark's files."""

from __future__ import annotations

import csv

from benchmarks.drift_false_alarms import BY_REFERENCE, N_REFERENCES, N_WINDOWS_EACH, RECORD, RESULT, docs_table


def test_its_table_is_the_csvs() -> None:
    assert docs_table(RESULT.read_text(encoding="utf-8")) in RECORD.read_text(encoding="utf-8")


def test_its_sentence_about_references_is_the_csvs() -> None:
    alarms = sorted(int(row["n_alarms"]) for row in csv.DictReader(BY_REFERENCE.read_text(encoding="utf-8").splitlines()))
    assert (len(alarms), N_REFERENCES, N_WINDOWS_EACH) == (20, 20, 40)
    assert (alarms.count(0), alarms[-2:]) == (7, [7, 8])
