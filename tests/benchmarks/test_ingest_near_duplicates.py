"""What the record on near-duplicates says of their cost is what was measured."""

from __future__ import annotations

import csv

from benchmarks.machine import RESULTS

RECORD = RESULTS.parents[1] / "docs" / "adr" / "0009-near-duplicates-share-a-split.md"


def test_its_table_is_the_csv() -> None:
    text = RECORD.read_text(encoding="utf-8")
    with (RESULTS / "ingest_near_duplicates.csv").open(newline="") as file:
        for row in csv.DictReader(file):
            sizes = f"| {int(row['n_known']):,} | {int(row['n_new']):,} "
            found = f"{row['n_copies_found']} of {row['n_copies']}"
            assert f"{sizes}| {row['seconds']} | {row['added_memory_mib']} | {found} |" in text
            assert row["n_copies_found"] == row["n_copies"]
