"""Puts the numbers of `results/text_transfer*.csv` into docs/guides/text.md: `python -m benchmarks.text_tables`. A test compares them."""

from __future__ import annotations

import json
import statistics
from collections import defaultdict

from benchmarks.contest.cells import cell_of
from benchmarks.gate_power import markdown_table
from benchmarks.machine import RESULTS
from benchmarks.tables import Row, read, rendered
from benchmarks.text_transfer.contenders import CONTEST

GUIDE = RESULTS.parents[1] / "docs" / "guides" / "text.md"
_NAMES = {"auto": "`auto`", "trainer": "Trainer", "setfit": "setfit", "sklearn": "scikit-learn probe"}


def render(text: str) -> str:
    """The guide's text with every block made anew."""
    return rendered(text, {"text_transfer": transfer, "tokens_per_second": tokens})


def transfer() -> str:
    """Ours beside the peers: a row for each dataset and number of labels."""
    accuracies: dict[tuple[tuple[str, int], str], list[float]] = defaultdict(list)
    for row in read("text_transfer"):
        accuracies[cell_of(row), row["contender"]].append(float(row["accuracy"]))
    names = (*CONTEST.ours, *CONTEST.peers, CONTEST.floor)
    header = ("texts", "labels a class", "draws", *(_NAMES[name] for name in names), "`auto` minus the best peer", "time", "processor")
    lines = []
    for row in read("text_transfer_summary"):
        cells = [_median(accuracies[cell_of(row), name]) for name in names]
        shares = [_share(row["time_share_of_best_peer"]), _share(row["cpu_share_of_best_peer"])]
        lines.append([row["dataset"], row["labels_per_class"], row["n_seeds"], *cells, _difference(row), *shares])
    return markdown_table(header, lines) + f"\n\n{_settings()}"


def _median(values: list[float]) -> str:
    return f"{100 * statistics.median(values):.1f}" if values else "not measured"


def _difference(row: Row) -> str:
    mean = f"{100 * float(row['difference_mean']):+.1f}"
    if int(row["n_seeds"]) < 2:
        return f"{mean} ({row['best_peer']})"
    return f"{mean} ({100 * float(row['difference_low']):+.1f} to {100 * float(row['difference_high']):+.1f}; {row['best_peer']})"


def _share(text: str) -> str:
    return f"{100 * float(text):.0f} %"


def _settings() -> str:
    machine = json.loads((RESULTS / "text_transfer.json").read_bytes())
    return (
        "Test accuracy in %, median of the draws; mean paired difference in points with its 95 % interval, and the peer it is to; time to"
        " train as a share of that peer's, by the clock and by the processor."
        f" {machine['processor']}, {machine['settings']['threads']} thread of {machine['cores']} cores, which other jobs share."
    )


def tokens() -> str:
    """Tokens a second of ours and of the plain Trainer."""
    found = {(row["what"], row["unit"]): row for row in read("tokens_per_second")}
    header = ("tokens a second", "by the clock", "of the processor")
    units = ("tokens_per_second", "tokens_per_cpu_second")
    lines = [[title, *(_spread(found[what, unit], digits) for unit in units)] for what, title, digits in _RATES]
    return markdown_table(header, lines)


_RATES = (
    ("regraft", "Regraft's features", 0),
    ("trainer", "`Trainer.predict`", 0),
    ("regraft / trainer", "Regraft's as a multiple of the Trainer's", 2),
)


def _spread(row: Row, digits: int) -> str:
    return f"{float(row['median']):,.{digits}f} ({float(row['min']):,.{digits}f} to {float(row['max']):,.{digits}f})"


if __name__ == "__main__":
    GUIDE.write_text(render(GUIDE.read_text(encoding="utf-8")), encoding="utf-8")
