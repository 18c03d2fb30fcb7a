"""Do LogME and H-score order backbones as fine-tuning does? Five image checkpoints of ../shared/weights on two datasets of photos.

Run: `python -m benchmarks.backbone_ranking` (about ten minutes on two quiet cores). Writes results/backbone_ranking.csv, a row for each
backbone and draw of labels, and results/backbone_ranking_tau.csv, scipy's weighted Kendall tau between each score and the test accuracy
after `lp_ft`; 1 is the same order, 0 none, and mistakes at the top weigh most. `chosen_minus_best` is the test accuracy of the backbone
that a score puts first, minus that of the best one. `--quick` shows one small draw and writes nothing.

The weights use TensorFlow's padding, which at 129 px equals timm's own.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.stats import weightedtau

from benchmarks.machine import write_results
from pipelines.backbones import select_backbone
from pipelines.config import AugmentSection, LpFtMethod, ProjectConfig, TimmBackbone
from pipelines.core.bundle import file_sha256
from pipelines.dataset import Sample, Split, read_samples, write_samples
from pipelines.progress import silent
from pipelines.training.embedding import embed
from pipelines.training.gathering import material_for
from pipelines.training.inputs import SampleInputs
from pipelines.training.linear import train_probe
from pipelines.training.ranking import h_score, log_me, order_by_transferability
from pipelines.training.train import METHODS

SHARED = Path(__file__).resolve().parents[2] / "shared"
ARCHITECTURES = {
    "mobilenetv2_100.coral_qat_in1k": "mobilenetv2_100",
    "mobilenetv2_100.keras_ptq_in1k": "mobilenetv2_100",
    "mobilenetv1_100.coral_qat_in1k": "mobilenetv1_100",
    "mobilenetv1_075.coral_qat_in1k": "mobilenetv1_075",
    "mobilenetv1_025.tfhub_float_in1k": "mobilenetv1_025",
}
DATASETS = {"flowers": ("flowers",), "hymenoptera": ("hymenoptera/train", "hymenoptera/val")}
LABELS_PER_CLASS = (10, 30)
SEEDS = (0, 1)
SIDE_PX = 129
N_VALIDATION_PER_CLASS = 15
N_TEST = 300
METHOD = LpFtMethod(kind="lp_ft", epochs=6, augment=AugmentSection(flips="horizontal"))
SCORES = ("log_me", "h_score", "combined")

Row = dict[str, Any]


def labelled_files(dataset: str) -> list[tuple[str, str]]:
    """Path and label; the files that lie in two classes are left out."""
    files = [
        (str(path), path.parent.name) for folder in DATASETS[dataset] for path in sorted((SHARED / "data" / folder).glob("*/*.[jJ][pP]*"))
    ]
    contents = [file_sha256(Path(path)) for path, _ in files]
    times = Counter(contents)
    return [file for file, content in zip(files, contents, strict=True) if times[content] == 1]


def draw(files: Sequence[tuple[str, str]], labels_per_class: int, n_test: int, seed: int) -> list[Sample]:
    """By the seed: small draws are part of large ones, and all have the same validation and test samples."""
    labels = sorted({label for _, label in files})
    order = np.random.default_rng(seed).permutation(len(files))
    samples = []
    for label in labels:
        own = [files[index] for index in order if files[index][1] == label]
        n_judged = N_VALIDATION_PER_CLASS + n_test // len(labels)
        parts: dict[Split, list[tuple[str, str]]] = {
            "validation": own[:N_VALIDATION_PER_CLASS],
            "test": own[N_VALIDATION_PER_CLASS:n_judged],
            "train": own[n_judged:][:labels_per_class],
        }
        for split, chosen in parts.items():
            samples += [Sample(file_sha256(Path(path)), path, label, path, "default", "", split) for path, _ in chosen]
    return samples


def backbone(weights: str) -> TimmBackbone:
    """The conf file's entry for a checkpoint."""
    size = {"height_px": SIDE_PX, "width_px": SIDE_PX, "fit": "crop", "crop_frac": 0.875}
    entry = {
        "kind": "timm",
        "name": ARCHITECTURES[weights],
        "weights": SHARED / "weights" / f"{weights}.safetensors",
        "preprocess": {"color": "RGB", **size, "mean": [0.5] * 3, "std": [0.5] * 3},
    }
    return TimmBackbone.model_validate(entry)


def project(entry: TimmBackbone, labels: Sequence[str], seed: int) -> ProjectConfig:
    """The conf file of one run."""
    content = {"project": "benchmark", "task": "image", "labels": labels, "backbone": entry, "method": METHOD, "seed": seed}
    return ProjectConfig.model_validate(content | {"gates": [{"kind": "goldens"}]})


def measure(weights: str, samples: Sequence[Sample], seed: int, folder: Path) -> Row:
    """Both scores of the training features, and the test accuracy of the probe and after fine-tuning."""
    entry = backbone(weights)
    config = project(entry, sorted({sample.label for sample in samples}), seed)
    selected = select_backbone(entry)
    table = folder / "samples.csv"
    write_samples(samples, table)
    material = material_for(selected, table, Path("/"), config, folder / "features", folder / f"{weights}-checkpoints", silent)
    test = SampleInputs(read_samples(table, "test"), Path("/"), selected.preprocess, config.labels)
    features = material.features(material.train)
    started = time.perf_counter()
    scores = {"log_me": log_me(features, material.train.targets), "h_score": h_score(features, material.train.targets)}
    ranked = time.perf_counter()
    probe = train_probe(material, METHOD.probe)
    tuned = METHODS["lp_ft"](material, METHOD)
    fitted = time.perf_counter()
    return {
        **{name: round(value, 6) for name, value in scores.items()},
        "probe_accuracy": round(accuracy(probe.network, test), 4),
        "fine_tuned_accuracy": round(accuracy(tuned.network, test), 4),
        "n_train": len(material.train),
        "n_test": len(test),
        "score_seconds": round(ranked - started, 3),
        "fit_seconds": round(fitted - ranked, 1),
    }


def accuracy(network: torch.nn.Module, inputs: SampleInputs) -> float:
    return float((embed(network, inputs).argmax(axis=1) == inputs.targets).mean())


def taus(rows: Sequence[Row]) -> Row:
    """Of the backbones of one draw: how well each score orders them, and what its choice costs."""
    truth = np.array([row["fine_tuned_accuracy"] for row in rows])
    result: Row = {}
    for name in SCORES:
        score = _score(rows, name)
        result[f"tau_{name}"] = round(float(weightedtau(score, truth).statistic), 4)
        result[f"{name}_chosen_minus_best"] = round(float(truth[score.argmax()] - truth.max()), 4)
    result["tau_probe_accuracy"] = round(float(weightedtau([row["probe_accuracy"] for row in rows], truth).statistic), 4)
    return result


def _score(rows: Sequence[Row], name: str) -> NDArray[np.float64]:
    if name != "combined":
        return np.array([row[name] for row in rows])
    order = order_by_transferability([row["log_me"] for row in rows], [row["h_score"] for row in rows])
    return np.array([-float(order.index(place)) for place in range(len(rows))])


def run(labels_per_class: Sequence[int], seeds: Sequence[int], datasets: Sequence[str], n_test: int) -> tuple[list[Row], list[Row]]:
    """All draws: a row for each backbone, and a row of taus for each draw."""
    rows: list[Row] = []
    ordered: list[Row] = []
    for dataset in datasets:
        files = labelled_files(dataset)
        for n_labels in labels_per_class:
            for seed in seeds:
                about: Row = {"dataset": dataset, "labels_per_class": n_labels, "seed": seed}
                samples = draw(files, n_labels, n_test, seed)
                with tempfile.TemporaryDirectory() as folder:
                    drawn = [about | {"backbone": name} | measure(name, samples, seed, Path(folder)) for name in ARCHITECTURES]
                rows += drawn
                ordered.append(about | {"n_backbones": len(drawn)} | taus(drawn))
                print(*(f"{key}={value}" for key, value in ordered[-1].items()), flush=True)
    means = {
        key: round(float(np.mean([row[key] for row in ordered])), 4) for key in ordered[0] if key.startswith("tau_") or "chosen" in key
    }
    ordered.append({"dataset": "mean", "labels_per_class": "", "seed": "", "n_backbones": len(ARCHITECTURES)} | means)
    return rows, ordered


def main() -> None:
    """Measures all draws and writes both tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="one small draw; nothing is written")
    quick = parser.parse_args().quick
    if quick:
        rows, ordered = run((5,), (0,), ("hymenoptera",), n_test=40)
    else:
        rows, ordered = run(LABELS_PER_CLASS, SEEDS, tuple(DATASETS), N_TEST)
    for row in rows:
        print(*(f"{value}" for value in row.values()), sep="\t")
    print(ordered[-1])
    if not quick:
        print(write_results("backbone_ranking", "python -m benchmarks.backbone_ranking", rows))
        print(write_results("backbone_ranking_tau", "python -m benchmarks.backbone_ranking", ordered))


if __name__ == "__main__":
    main()
