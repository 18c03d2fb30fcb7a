"""Puts the numbers of `results/` into README.md: `python -m benchmarks.readme_tables`. A test checks that they are the same.

Each block of the README between `<!-- NAME -->` and `<!-- /NAME -->` is made by the function of that name.
"""

from __future__ import annotations

import csv
import json
import statistics
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import RESULTS

README = Path(__file__).resolve().parent.parent / "README.md"


def render(text: str) -> str:
    """The README's text with every block made anew."""
    for name, block in BLOCKS.items():
        start, end = f"<!-- {name} -->", f"<!-- /{name} -->"
        if start not in text or end not in text:
            raise SystemExit(f"README.md has no block {start} ... {end}")
        before, _, rest = text.partition(start)
        _, _, after = rest.partition(end)
        text = f"{before}{start}\n{block()}\n{end}{after}"
    return text


def _rows(name: str) -> list[dict[str, str]]:
    with (RESULTS / f"{name}.csv").open(newline="") as file:
        return list(csv.DictReader(line for line in file if not line.startswith("#")))


def _machine(name: str) -> str:
    machine = json.loads((RESULTS / f"{name}.json").read_text())
    return f"{machine.get('processor') or machine['cpu']}, {machine['cores']} cores"


def demo_output() -> str:
    """What the demo printed."""
    return f"```text\n{(RESULTS / 'demo_output.txt').read_text(encoding='utf-8').rstrip()}\n```"


def backbone_transfer() -> str:
    """Median accuracy of each method at each number of labels, with minimum and maximum over the seeds."""
    cells: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in _rows("backbone_transfer"):
        cells[row["method"], int(row["labels_per_class"])].append(float(row["accuracy"]))
    counts = sorted({count for _, count in cells})
    methods = list(dict.fromkeys(method for method, _ in cells))
    lines = [f"| method | {' | '.join(f'{count} labels a class' for count in counts)} |", "|---" * (len(counts) + 1) + "|"]
    for method in methods:
        lines.append(f"| {method.replace('_', ' ')} | {' | '.join(_cell(cells[method, count]) for count in counts)} |")
    n_seeds = len(next(iter(cells.values())))
    return "\n".join(lines) + f"\n\nDigits accuracy in %, median of {n_seeds} seeds (minimum to maximum); {_machine('backbone_transfer')}."


def _cell(values: list[float]) -> str:
    return f"{100 * statistics.median(values):.1f} ({100 * min(values):.1f} to {100 * max(values):.1f})"


def costs() -> str:
    """What the commands and the demo cost."""
    seconds = {row["what"]: row for row in _rows("overhead")}
    demo = {row["what"]: float(row["median"]) for row in _rows("demo_cost")}
    unchanged = float(seconds["unchanged"]["median"]) - float(seconds["empty_flow"]["median"])
    prefect = float(seconds["flow"]["median"]) - float(seconds["plain"]["median"])
    lines = [
        "| what | measured | aim |",
        "|---|---|---|",
        f"| `make demo` after set-up, wall time | {demo['wall_seconds']:.0f} s | 300 s |",
        f"| its peak memory over all processes (PSS; RSS counts shared pages many times) | {demo['peak_pss_mb'] / 1000:.1f} GB"
        f" (RSS {demo['peak_rss_mb'] / 1000:.1f} GB) | 4 GB |",
        f"| `regraft --help` | {_spread(seconds['help'])} | 0.5 s |",
        f"| `regraft status` | {_spread(seconds['status'])} | 2 s |",
        f"| `regraft retrain` with nothing changed: {_spread(seconds['unchanged'])}; an empty flow: {_spread(seconds['empty_flow'])}"
        f" | {unchanged:.1f} s more | 2 s more |",
        f"| all stages as plain functions: {_spread(seconds['plain'])}; as tasks of a flow: {_spread(seconds['flow'])}"
        f" | {prefect:.1f} s more | {0.05 * float(seconds['plain']['median']) + 5:.1f} s more |",
    ]
    return "\n".join(lines) + f"\n\nMedians (minimum to maximum) on {_machine('overhead')}, which other jobs share."


def _spread(row: dict[str, str]) -> str:
    return f"{float(row['median']):.1f} s ({float(row['min']):.1f} to {float(row['max']):.1f})"


BLOCKS: dict[str, Callable[[], str]] = {"demo_output": demo_output, "backbone_transfer": backbone_transfer, "costs": costs}


if __name__ == "__main__":
    README.write_text(render(README.read_text(encoding="utf-8")), encoding="utf-8")
