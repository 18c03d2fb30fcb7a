"""Adapting to another domain without its labels: MNIST, USPS, scikit-learn's digits, another scanner. Needs ../shared.

Run: `python -m benchmarks.domain_adaptation`. Writes results/domain_adaptation.csv (each seed), domain_adaptation_summary.csv (mean and
spread) and a .json with the machine, the settings and the papers' figures. For each pair of domains and each of four seeds:

    source only     `lp_ft` of all blocks of the shipped backbone on 1,000 labelled samples of the source
    bn, coral, dann, shot   method `adapt` from that very model, with 1,000 unlabelled samples of the target; conf defaults
    ceiling         the same `lp_ft` on those 1,000 target samples with their labels

Accuracy is on the target's own test images, which none of them has seen, and on the source's: what adaptation costs there. No setting was
chosen on the seeds that are reported (the defaults were looked at on seed 99); none can be chosen without labels of the target.
"""

from __future__ import annotations

import copy
import hashlib
import statistics
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from benchmarks.machine import write_results
from benchmarks.real_digits import _png, _read
from pipelines.backbones import select_backbone
from pipelines.config import AdaptMethod, ProjectConfig, ShippedBackbone
from pipelines.dataset import Sample, Split, write_samples
from pipelines.domain_shift import shift_scanner
from pipelines.known_content import KnownContent
from pipelines.progress import silent
from pipelines.training.adaptation.adapt import train_adapted
from pipelines.training.embedding import embed
from pipelines.training.fine_tuning import train_lp_ft
from pipelines.training.gathering import material_for
from pipelines.training.inputs import SampleInputs
from pipelines.training.material import Material, Trained
from pipelines.unlabelled import RawInput, add_snapshot

PAIRS = (("mnist", "usps"), ("usps", "mnist"), ("digits", "mnist"), ("mnist", "scanner"))
SEEDS = (0, 1, 2, 3)
N_SOURCE, N_VALIDATION, N_TARGET, N_TEST = 1_000, 200, 1_000, 1_500
N_SOURCE_TEST_DIGITS = 597
WAYS = ("bn", "coral", "dann", "shot")
PLAIN = {"kind": "lp_ft", "n_upper_blocks": None, "freeze_batch_norm": False, "epochs": 8, "batch_size": 32, "early_stopping_epochs": None}
LABELS = tuple(str(digit) for digit in range(10))
COMMAND = "python -m benchmarks.domain_adaptation"

# Set-ups differ from ours and from each other; see `note`.
PAPERS = (
    {
        "paper": "Tzeng et al. 2017 (ADDA), https://arxiv.org/abs/1702.05464, table 2",
        "note": "LeNet from scratch, 2,000 MNIST and 1,800 USPS training images; `dann` is their gradient reversal row",
        "mnist -> usps": {"source only": 0.752, "dann": 0.771},
        "usps -> mnist": {"source only": 0.571, "dann": 0.730},
    },
    {
        "paper": "Liang et al. 2020 (SHOT), https://arxiv.org/abs/2002.08546, table 2",
        "note": "LeNet with a batch-norm bottleneck from scratch on the whole training sets (60,000 and 7,291 images)",
        "mnist -> usps": {"source only": 0.822, "shot": 0.979},
        "usps -> mnist": {"source only": 0.696, "shot": 0.980},
    },
)

Pixels = NDArray[np.uint8]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Row:
    """One model: accuracy on the target's and on the source's test images."""

    pair: str
    method: str
    seed: int
    target_accuracy: float
    source_accuracy: float
    n_target_test: int
    seconds: float


def images_of(domain: str) -> tuple[Pixels, Ints]:
    """All images of a domain, uint8, and their digits."""
    if domain == "digits":
        from sklearn.datasets import load_digits

        digits = load_digits()
        return np.round(digits.images / 16 * 255).astype(np.uint8), digits.target.astype(np.int64)
    return _read({"mnist": "mnist_6k", "scanner": "mnist_6k", "usps": "usps"}[domain], ("train", "test"))


class Drawn:
    """One draw of source and target samples as files, and the material that methods work with."""

    def __init__(self, pair: tuple[str, str], seed: int, folder: Path) -> None:
        self.folder, self.seed = folder, seed
        self.data = folder / "data"
        n_test = N_SOURCE_TEST_DIGITS if pair[0] == "digits" else N_TEST
        source = self._samples(pair[0], (("train", N_SOURCE), ("validation", N_VALIDATION), ("test", n_test)))
        target = self._samples(pair[1], (("train", N_TARGET), ("validation", N_VALIDATION), ("test", N_TEST)))
        self.source = self._material(source, "source")
        self.ceiling = self._material(target, "target")
        self.source_test, self.target_test = self._test(source), self._test(target)
        self.unlabelled = self._snapshot([sample for sample in target if sample.split == "train"])

    def _samples(self, domain: str, sizes: tuple[tuple[Split, int], ...]) -> list[Sample]:
        images, labels = images_of(domain)
        # One order for both sides of mnist -> scanner, taken from its two ends: no digit is in both.
        order = iter(np.random.default_rng(self.seed).permutation(len(images))[:: -1 if domain == "scanner" else 1])
        found: dict[str, Sample] = {}
        for split, size in sizes:
            n_wanted = len(found) + size
            while len(found) < n_wanted:
                place = next(order)
                content = _png(images[place])
                content = shift_scanner(content, int(place)) if domain == "scanner" else content
                digest = hashlib.sha256(content).hexdigest()
                path = f"{domain}/{digest}"
                if digest not in found:
                    (self.data / domain).mkdir(parents=True, exist_ok=True)
                    (self.data / path).write_bytes(content)
                    found[digest] = Sample(digest, path, LABELS[labels[place]], digest, domain, "", split)
        return list(found.values())

    def _material(self, samples: list[Sample], name: str) -> Material:
        table = self.folder / f"{name}.csv"
        write_samples(samples, table)
        config = project(self.seed)
        choice = select_backbone(ShippedBackbone(kind="shipped"))
        return material_for(choice, table, self.data, config, self.folder / "features", self.folder / "checkpoints" / name, silent)

    def _test(self, samples: list[Sample]) -> SampleInputs:
        chosen = [sample for sample in samples if sample.split == "test"]
        return SampleInputs(chosen, self.data, self.source.selected.preprocess, LABELS)

    def _snapshot(self, samples: list[Sample]) -> str:
        inputs = [RawInput(self.data / sample.path, sample.domain, "") for sample in samples]
        return add_snapshot(self.data, inputs, KnownContent(self.data, []), len(inputs), self.folder / "staging").name


def project(seed: int) -> ProjectConfig:
    content = {"project": "adaptation", "task": "image", "labels": LABELS, "backbone": {"kind": "shipped"}, "method": PLAIN, "seed": seed}
    return ProjectConfig.model_validate(content | {"compute": {"n_workers": 1}, "gates": [{"kind": "goldens"}]})


def measured(pair: tuple[str, str], seed: int, ways: tuple[str, ...] = WAYS) -> Iterator[Row]:
    """All models of one draw, each as soon as it is there."""
    with tempfile.TemporaryDirectory(prefix="regraft-adaptation-") as folder:
        drawn = Drawn(pair, seed, Path(folder))

        def row(method: str, trained: Trained, started: float) -> Row:
            seconds = time.perf_counter() - started
            scores = [accuracy(trained, test) for test in (drawn.target_test, drawn.source_test)]
            return Row(" -> ".join(pair), method, seed, scores[0], scores[1], len(drawn.target_test), round(seconds, 1))

        started = time.perf_counter()
        source = train_lp_ft(drawn.source, drawn.source.config.method)  # type: ignore[arg-type]
        yield row("source only", source, started)
        for way in ways:
            started = time.perf_counter()
            yield row(way, train_adapted(drawn.source, adapt_section(way, drawn.unlabelled), copy.deepcopy(source)), started)
        started = time.perf_counter()
        yield row("ceiling", train_lp_ft(drawn.ceiling, drawn.ceiling.config.method), started)  # type: ignore[arg-type]


def adapt_section(way: str, unlabelled: str) -> AdaptMethod:
    return AdaptMethod.model_validate({"kind": "adapt", "by": way, "unlabelled": unlabelled, "source": PLAIN})


def accuracy(trained: Trained, test: SampleInputs) -> float:
    logits = embed(trained.network, test, n_workers=1)
    return round(float((logits.argmax(axis=1) == test.targets).mean()), 4)


def summary(rows: list[Row]) -> list[dict[str, object]]:
    """Mean, smallest and largest over the seeds, and the mean gain over `source only` of the same seed."""
    plain = {(row.pair, row.seed): row.target_accuracy for row in rows if row.method == "source only"}
    found: list[dict[str, object]] = []
    for pair, method in dict.fromkeys((row.pair, row.method) for row in rows):
        chosen = [row for row in rows if (row.pair, row.method) == (pair, method)]
        values = [row.target_accuracy for row in chosen]
        gains = [row.target_accuracy - plain[row.pair, row.seed] for row in chosen]
        found.append(
            {
                "pair": pair,
                "method": method,
                "n_seeds": len(values),
                "target_mean": round(statistics.mean(values), 4),
                "target_min": min(values),
                "target_max": max(values),
                "gain_mean": round(statistics.mean(gains), 4),
                "gain_min": round(min(gains), 4),
                "n_seeds_better": sum(gain > 0 for gain in gains),
                "source_mean": round(statistics.mean(row.source_accuracy for row in chosen), 4),
                "seconds_median": statistics.median(row.seconds for row in chosen),
            }
        )
    return found


def main() -> None:
    torch.set_num_threads(1)
    rows: list[Row] = []
    settings = {"seeds": SEEDS, "n_source": N_SOURCE, "n_unlabelled": N_TARGET, "n_test": N_TEST, "threads": 1, "plain": PLAIN}
    about = {"settings": settings, "papers": PAPERS}
    for seed in SEEDS:
        for pair in PAIRS:
            for row in measured(pair, seed):
                rows.append(row)
                print(asdict(row), flush=True)
            # After each draw: a run that is cut short leaves what it measured.
            write_results("domain_adaptation", COMMAND, [asdict(item) for item in rows], about)
            write_results("domain_adaptation_summary", COMMAND, summary(rows), about)


if __name__ == "__main__":
    main()
