"""Puts the numbers of `results/domain_adaptation_summary.csv` into docs/guides/adaptation.md: `python -m benchmarks.adaptation_tables`.

A test compares them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from benchmarks.gate_power import markdown_table
from benchmarks.machine import RESULTS
from benchmarks.tables import Row, read, rendered

GUIDE = RESULTS.parents[1] / "docs" / "guides" / "adaptation.md"


def render(text: str) -> str:
    """The guide's text with the table made anew."""
    return rendered(text, {"domain_adaptation": table})


def table() -> str:
    """A row for each pair and method: the target's accuracy, the gain, the source's accuracy, and what papers report of the same pair.

    Draws of one kind of input are as many as were measured; the column `seeds with a gain` has their number.
    """
    papers = json.loads((RESULTS / "domain_adaptation_summary.json").read_bytes())["papers"]
    header = ("from -> to", "method", "target: mean (min to max)", "gain", "seeds with a gain", "source", "seconds", "in papers")
    return markdown_table(header, [_cells(row, papers) for row in read("domain_adaptation_summary")])


def _cells(row: Row, papers: list[Mapping[str, object]]) -> list[str]:
    gain = "" if row["method"] == "source only" else f"{100 * float(row['gain_mean']):+.1f} points"
    better = "" if row["method"] == "source only" else f"{row['n_seeds_better']} of {row['n_seeds']}"
    return [
        row["pair"],
        row["method"],
        f"{_percent(row['target_mean'])} ({_percent(row['target_min'])} to {_percent(row['target_max'])})",
        gain,
        better,
        _percent(row["source_mean"]),
        f"{float(row['seconds_median']):.0f}",
        _reported(row, papers),
    ]


def _reported(row: Row, papers: list[Mapping[str, object]]) -> str:
    found = []
    for paper in papers:
        figures = paper.get(row["pair"])
        if isinstance(figures, dict) and row["method"] in figures:
            found.append(f"{100 * figures[row['method']]:.1f} % ({str(paper['paper']).partition(',')[0].partition(' (')[0]})")
    return ", ".join(found) or "none known"


def _percent(text: str) -> str:
    return f"{100 * float(text):.1f} %"


if __name__ == "__main__":
    GUIDE.write_text(render(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")
