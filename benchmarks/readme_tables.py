"""Puts the numbers of `results/` into README.md: `python -m benchmarks.readme_tables`. A test checks that they are the same.

Each block of the README between `<!-- NAME -->` and `<!-- /NAME -->` is made by the function of that name.
"""

from __future__ import annotations

import json
import statistics
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

from benchmarks.machine import RESULTS
from benchmarks.tables import read, rendered

README = Path(__file__).resolve().parent.parent / "README.md"


def render(text: str) -> str:
    """The README's text with every block made anew."""
    return rendered(text, BLOCKS)


def _machine(name: str) -> str:
    machine = json.loads((RESULTS / f"{name}.json").read_text())
    return f"{machine.get('processor') or machine['cpu']}, {machine['cores']} cores"


def demo_output() -> str:
    """What the demo printed."""
    return f"```text\n{(RESULTS / 'demo_output.txt').read_text(encoding='utf-8').rstrip()}\n```"


def backbone_transfer() -> str:
    """Median accuracy of each method at each number of labels, with minimum and maximum over the seeds."""
    cells: dict[tuple[str, int], list[float]] = defaultdict(list)
    for row in read("backbone_transfer"):
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


def transfer() -> str:
    """Method `auto` beside its peers, a row for each dataset and number of labels."""
    medians: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for row in read("transfer"):
        medians[row["dataset"], row["labels_per_class"], row["contender"]].append(float(row["accuracy"]))
    names = ("auto", "fastai", "timm", "sklearn")
    lines = [
        "| images | labels a class | `auto` | fastai `fine_tune` | timm loop | scikit-learn probe | `auto` minus the better peer | time |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for row in sorted((row for row in read("transfer_summary") if row["method"] == "auto"), key=_cell_order):
        cells = [f"{100 * statistics.median(medians[row['dataset'], row['labels_per_class'], name]):.1f}" for name in names]
        low, high = (100 * float(row[f"difference_{end}"]) for end in ("low", "high"))
        difference = f"{100 * float(row['difference_mean']):+.1f} ({low:+.1f} to {high:+.1f})"
        share = f"{100 * float(row['time_share_of_best_peer']):.0f} %"
        lines.append(f"| {row['dataset']} | {row['labels_per_class']} | {' | '.join(cells)} | {difference} | {share} |")
    n_seeds = len(medians[row["dataset"], row["labels_per_class"], "auto"])
    return "\n".join(lines) + (
        f"\n\nTest accuracy in %, median of {n_seeds} seeds; mean paired difference in points with its 95 % interval; time to train as a"
        f" share of the better peer's. {_machine('transfer')}."
    )


def _cell_order(row: dict[str, str]) -> tuple[str, int]:
    return row["dataset"], int(row["labels_per_class"])


def repeating() -> str:
    """What a retraining with a few new samples costs, and reading files."""
    lines = ["| what | measured | aim |", "|---|---|---|"]
    for row in read("retrain_cost"):
        share = f"{100 * float(row['share']):.0f} % ({100 * float(row['share_min']):.0f} to {100 * float(row['share_max']):.0f})"
        seconds = f"{float(row['first_seconds']):.1f} s, then {float(row['second_seconds']):.1f} s"
        what = f"`{row['method']}` again after 1 % new samples, {row['side_px']} px, share of the first training"
        lines.append(f"| {what}: {seconds} | {share} | 10 % |")
    for row in read("features_per_second"):
        if row["unit"] == "share_of_bare":
            share = f"{100 * float(row['median']):.0f} % ({100 * float(row['min']):.0f} to {100 * float(row['max']):.0f})"
            lines.append(f"| features from files, {row['network']}, {row['photos']}, share of the bare forward pass | {share} | 95 % |")
    mean = next(row for row in read("backbone_ranking_tau") if row["dataset"] == "mean")
    for name, title in (("log_me", "LogME"), ("h_score", "H-score"), ("combined", "both"), ("probe_accuracy", "a probe")):
        lines.append(f"| weighted Kendall tau of {title} with fine-tuned accuracy, five backbones | {float(mean[f'tau_{name}']):.2f} | |")
    return "\n".join(lines) + f"\n\nMedians (minimum to maximum); the Kendall taus are means over the draws. {_machine('retrain_cost')}."


def costs() -> str:
    """What the commands and the demo cost."""
    seconds = {row["what"]: row for row in read("overhead")}
    demo = {row["what"]: float(row["median"]) for row in read("demo_cost")}
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


BLOCKS: dict[str, Callable[[], str]] = {
    "demo_output": demo_output,
    "transfer": transfer,
    "repeating": repeating,
    "backbone_transfer": backbone_transfer,
    "costs": costs,
}


if __name__ == "__main__":
    README.write_text(render(README.read_text(encoding="utf-8")), encoding="utf-8")
