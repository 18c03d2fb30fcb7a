"""ADR 8 shows the measured table, and what was measured supports what the pages say."""

from __future__ import annotations

import csv
from pathlib import Path

from benchmarks.data_audit import docs_table
from benchmarks.machine import RESULTS

ADR = Path(__file__).resolve().parents[2] / "docs" / "adr" / "0008-finding-near-duplicates.md"


def rows(name: str) -> list[dict[str, str]]:
    with (RESULTS / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_page_shows_the_measured_table() -> None:
    copies = rows("data_audit_copies")
    text = ADR.read_text(encoding="utf-8")
    assert docs_table(copies) in text
    copies[3]["recall"] = "0.5432"
    assert docs_table(copies) not in text


def test_different_digits_are_no_copies_and_copies_of_photos_are_found() -> None:
    copies = rows("data_audit_copies")
    as_they_are = {row["data"]: int(row["n_found"]) for row in copies if row["alteration"] == "none"}
    assert as_they_are["digits (8 px)"] == as_they_are["mnist_6k (28 px)"] == as_they_are["hymenoptera (photos)"] == 0
    assert as_they_are["usps (16 px)"] <= 2
    photos = [row for row in copies if "photos" in row["data"] and row["alteration"] != "none" and "crop" not in row["alteration"]]
    assert min(float(row["recall"]) for row in photos) >= 0.99


def test_flipped_labels_are_found_and_clean_ones_left_alone() -> None:
    labels = rows("data_audit_labels")
    for share in ("0.02", "0.05", "0.15"):
        some = [row for row in labels if row["flipped_frac"] == share]
        flipped, found, hit = (sum(int(row[name]) for row in some) for name in ("n_flipped", "n_found", "n_hit"))
        assert hit / found >= 0.98
        assert hit / flipped >= 0.75
    assert sum(int(row["n_found"]) for row in labels if row["flipped_frac"] == "0.0") == 0
