"""Puts the numbers of `results/label_queue_*.csv` into docs/guides/labels.md; a test compares them.

python -m benchmarks.label_queue_table
"""

from __future__ import annotations

from collections.abc import Callable

from benchmarks.machine import RESULTS
from benchmarks.tables import Row, read, rendered

GUIDE = RESULTS.parents[1] / "docs" / "guides" / "labels.md"
_PICKS = {
    "random": "at random",
    "uncertain": "most uncertain",
    "chosen": "uncertain and different",
    "queue": "the queue",
    "k_center": "k-center",
}
_TRAFFIC = {"usps": "USPS", "mixed": "1 of 5 USPS", "bursts": "USPS in bursts"}


def render(text: str) -> str:
    """The guide's text with every block made anew."""
    return rendered(text, BLOCKS)


def accuracy_table() -> str:
    rows = {(row["traffic"], row["pick"], row["n_labels"]): row for row in read("label_queue_summary")}
    lines = ["| traffic | labels | " + " | ".join(_PICKS.values()) + " |", "|---" * (len(_PICKS) + 2) + "|"]
    for traffic, shown in _TRAFFIC.items():
        for n in sorted({n for name, _, n in rows if name == traffic}, key=int):
            cells = [_cell(rows[traffic, pick, n], is_base=pick == "random") for pick in _PICKS]
            lines.append(f"| {shown} | {n} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _cell(row: Row, *, is_base: bool) -> str:
    accuracy = f"{100 * float(row['accuracy_usps']):.1f} %"
    return accuracy if is_base else f"{accuracy} ({100 * float(row['gain_usps']):+.1f} ± {100 * float(row['gain_usps_error']):.1f})"


def speed_table() -> str:
    lines = ["| lines in the log | inputs that wait | read, seconds | choose 80, seconds | memory on top, MiB |", "|---|---|---|---|---|"]
    names = ("n_lines", "n_waiting", "read_seconds", "choose_seconds", "added_memory_mib")
    return "\n".join([*lines, *(f"| {' | '.join(row[name] for name in names)} |" for row in read("label_queue_speed"))])


BLOCKS: dict[str, Callable[[], str]] = {"label_queue_accuracy": accuracy_table, "label_queue_speed": speed_table}


if __name__ == "__main__":
    GUIDE.write_text(render(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")
