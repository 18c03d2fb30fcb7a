"""Source-only training, each way to adapt, training with the target's labels: `python -m benchmarks.domain_adaptation`. Needs ../shared.

Writes results/domain_adaptation.csv (each seed), domain_adaptation_summary.csv (mean and spread) and a .json with the machine, the settings
and the papers' figures. For each pair of domains of `settings.py` and each of five seeds:

    source only     `lp_ft` of all blocks of the backbone on labelled samples of the source
    bn, coral, dann, shot   method `adapt` from that very model, with unlabelled samples of the target; conf defaults
    ceiling         the same `lp_ft` on those target samples with their labels

Accuracy is on the target's own test samples, which none of them has seen, and on the source's: what adaptation costs there. No setting was
chosen on the seeds that are reported (the defaults for images were looked at on seed 99); none can be chosen without labels of the target.

`--only reviews --seeds 3 --add` measures what the file lacks of a part, and keeps the rest.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import asdict

import torch

from benchmarks.domain_adaptation.measuring import Row, measured
from benchmarks.domain_adaptation.papers import PAPERS
from benchmarks.domain_adaptation.settings import SETTINGS, Setting
from benchmarks.domain_adaptation.summary import summary
from benchmarks.machine import write_results
from benchmarks.tables import read

SEEDS = (0, 1, 2, 3, 4)
COMMAND = "python -m benchmarks.domain_adaptation"
NAME = "domain_adaptation"


def main() -> None:
    options = _options()
    torch.set_num_threads(1)
    rows = _kept() if options.add else []
    for setting, pair, seed in _asked(options):
        if any((row.pair, row.seed) == (" -> ".join(pair), seed) for row in rows):
            continue
        drawn: list[Row] = []
        for row in measured(setting, pair, seed):
            drawn.append(row)
            print(asdict(row), flush=True)
        # Read anew: another process may have measured another part meanwhile.
        rows = _in_order([*(_kept() if options.add else rows), *drawn])
        # After each draw: a run that is cut short leaves what it measured.
        about = {"settings": {setting.name: setting.described() for setting in SETTINGS}, "papers": PAPERS, "threads": 1}
        write_results(NAME, COMMAND, [asdict(item) for item in rows], about)
        write_results(f"{NAME}_summary", COMMAND, summary(rows), about)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", nargs="*", choices=[setting.name for setting in SETTINGS], help="Parts to measure.")
    parser.add_argument("--seeds", type=int, default=len(SEEDS), help="How many draws of each pair.")
    parser.add_argument("--add", action="store_true", help="Keeps the draws that the result file has, and measures the others.")
    return parser.parse_args()


def _asked(options: argparse.Namespace) -> Iterator[tuple[Setting, tuple[str, str], int]]:
    chosen = [setting for setting in SETTINGS if not options.only or setting.name in options.only]
    places = range(max(len(setting.pairs) for setting in chosen))
    for seed in SEEDS[: options.seeds]:
        # The first pair of each part before the second of any: what a short run leaves is of all parts.
        yield from ((setting, setting.pairs[place], seed) for place in places for setting in chosen if place < len(setting.pairs))


def _kept() -> list[Row]:
    return [Row.of_file(row) for row in read(NAME)]


def _in_order(rows: list[Row]) -> list[Row]:
    """By seed, then as the settings name the pairs; the models of a draw stay in their order."""
    places = {" -> ".join(pair): place for place, pair in enumerate(pair for setting in SETTINGS for pair in setting.pairs)}
    return sorted(rows, key=lambda row: (row.seed, places[row.pair]))


if __name__ == "__main__":
    main()
