"""Pages whose tables are made from result files: each block between `<!-- NAME -->` and `<!-- /NAME -->` by the function of that name."""

from __future__ import annotations

import csv
from collections.abc import Callable, Mapping

from benchmarks.machine import RESULTS

Row = dict[str, str]


def rendered(text: str, blocks: Mapping[str, Callable[[], str]]) -> str:
    """The page's text with every block made anew.

    Raises:
        SystemExit: The page lacks a block; it is named.
    """
    for name, block in blocks.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if start not in text or end not in text:
            raise SystemExit(f"the page has no block {start} ... {end}")
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        text = f"{before}{start}\n{block()}\n{end}{after}"
    return text


def read(name: str) -> list[Row]:
    """The rows of a result file; lines that begin with # are none."""
    with (RESULTS / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))
