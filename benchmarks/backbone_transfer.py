"""Does the shipped backbone transfer? Scikit-learn's digits, which it never saw, with few labels.

Run: `python -m benchmarks.backbone_transfer`. Writes results/backbone_transfer.csv and, beside it, a .json with the hardware, the
versions and the settings. Four ways to use the same labels, on the same 500 test images:

    probe_shipped     logistic regression on standardised features of the shipped backbone, frozen
    probe_untrained   the same on the same architecture with random weights
    scratch           the same architecture trained end to end on the labels alone, without augmentation
    raw_pixels        logistic regression on the 64 pixels: the floor

The logistic regressions choose C by cross-validation within their labels. The learning rate of `scratch` was the best of a
few on a draw that is not among the five seeds; nothing here chose the backbone or its recipe.
"""

from __future__ import annotations

import csv
import io
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, fields
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV, StratifiedKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer, StandardScaler
from torch import nn
from torch.nn import functional

from pipelines.backbone_cards import BackboneCard, load_shipped
from pipelines.core.backbones import build_backbone
from pipelines.core.heads import build_head
from pipelines.core.preprocess import preprocess

ROOT = Path(__file__).resolve().parents[1]
BACKBONE = "omniglot_resnet"
RESULT = ROOT / "benchmarks" / "results" / "backbone_transfer.csv"
LABELS_PER_CLASS = (10, 30, 100)
SEEDS = (0, 1, 2, 3, 4)
N_TEST = 500
N_THREADS = 1  # two threads wait for each other where other work shares the cores
C_GRID = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
N_FOLDS = 5
SCRATCH = {"n_steps": 600, "batch_size": 64, "learning_rate": 1e-2, "weight_decay": 0.05}

Floats = NDArray[np.float32]
Integers = NDArray[np.int64]


@dataclass(frozen=True)
class Result:
    """One row of the table; `seconds` covers training, with the features it needs, and the test."""

    method: str
    labels_per_class: int
    seed: int
    accuracy: float
    seconds: float
    n_test: int


@dataclass(frozen=True)
class Task:
    """The digits as the backbone's input [n, 1, p, p] and as raw pixels [n, 64] in [0, 1], with one draw of training and test rows."""

    inputs: Floats
    pixels: Floats
    labels: Integers
    train: Integers
    test: Integers
    seed: int


def digits_as_inputs(card: BackboneCard) -> tuple[Floats, Floats, Integers]:
    """The digits through PNG bytes and the one preprocessing: inputs [n, 1, p, p], pixels [n, 64], labels [n]."""
    digits = load_digits()
    images = np.round(digits.images / 16 * 255).astype(np.uint8)
    inputs = preprocess([_png(image) for image in images], card.preprocess)
    return inputs, (images.reshape(len(images), -1) / 255).astype(np.float32), digits.target.astype(np.int64)


def _png(image: NDArray[np.uint8]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, format="PNG")
    return buffer.getvalue()


def draw_task(inputs: Floats, pixels: Floats, labels: Integers, labels_per_class: int, seed: int) -> Task:
    """500 test images by the seed alone; of the rest, the first `labels_per_class` of each class: small draws are part of large ones."""
    order = np.random.default_rng(seed).permutation(len(labels))
    pool = order[N_TEST:]
    train = np.concatenate([pool[labels[pool] == digit][:labels_per_class] for digit in range(10)])
    return Task(inputs, pixels, labels, train, order[:N_TEST], seed)


def fitted_probe(values: NDArray[Any], labels: Integers, seed: int, *, standardise: bool) -> GridSearchCV:
    """Logistic regression, C by cross-validation on these rows only."""
    scaler = StandardScaler() if standardise else FunctionTransformer()
    pipeline = make_pipeline(scaler, LogisticRegression(max_iter=5000))
    folds = StratifiedKFold(N_FOLDS, shuffle=True, random_state=seed)
    return GridSearchCV(pipeline, {"logisticregression__C": C_GRID}, cv=folds).fit(values, labels)


def features_of(backbone: nn.Module, inputs: Floats) -> Floats:
    """Frozen features [n, d]."""
    backbone.eval()
    with torch.inference_mode():
        return np.concatenate([backbone(part).numpy() for part in torch.split(torch.from_numpy(inputs), 256)])


def probe_accuracy(task: Task, backbone: nn.Module) -> float:
    """Test accuracy of a probe on the backbone's features."""
    probe = fitted_probe(features_of(backbone, task.inputs[task.train]), task.labels[task.train], task.seed, standardise=True)
    return float(probe.score(features_of(backbone, task.inputs[task.test]), task.labels[task.test]))


def raw_pixel_accuracy(task: Task) -> float:
    """Test accuracy of logistic regression on the pixels, which share a scale; standardising would blow up those at the border."""
    probe = fitted_probe(task.pixels[task.train], task.labels[task.train], task.seed, standardise=False)
    return float(probe.score(task.pixels[task.test], task.labels[task.test]))


def scratch_accuracy(task: Task, backbone: nn.Module) -> float:
    """Test accuracy after training every weight on the labels: AdamW, cosine schedule."""
    model = nn.Sequential(backbone, build_head(int(backbone.num_features), 10)).to(memory_format=torch.channels_last)  # type: ignore[arg-type]
    optimizer = torch.optim.AdamW(model.parameters(), lr=SCRATCH["learning_rate"], weight_decay=SCRATCH["weight_decay"])
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, int(SCRATCH["n_steps"]))
    inputs, labels = torch.from_numpy(task.inputs[task.train]), torch.from_numpy(task.labels[task.train])
    model.train()
    for batch in _batches(len(labels), task.seed):
        loss = functional.cross_entropy(model(inputs[batch]), labels[batch])
        optimizer.zero_grad()
        torch.autograd.backward(loss)
        optimizer.step()
        schedule.step()
    predicted = features_of(model, task.inputs[task.test]).argmax(axis=1)
    return float((predicted == task.labels[task.test]).mean())


def _batches(n_rows: int, seed: int) -> Iterator[torch.Tensor]:
    """Shuffled passes over the rows, whole batches only, until there were enough steps."""
    generator, done, size = torch.Generator().manual_seed(seed), 0, int(SCRATCH["batch_size"])
    while done < SCRATCH["n_steps"]:
        for batch in torch.split(torch.randperm(n_rows, generator=generator), size):
            if len(batch) == size and done < SCRATCH["n_steps"]:
                done += 1
                yield batch


def run_task(task: Task, card: BackboneCard, weights: dict[str, torch.Tensor], labels_per_class: int) -> list[Result]:
    """All four methods on one draw."""
    untrained = card.spec.model_copy(update={"origin": "untrained", "weights_sha256": None})

    def build(shipped: bool) -> nn.Module:
        torch.manual_seed(task.seed)
        backbone = build_backbone(card.spec if shipped else untrained)
        if shipped:
            backbone.load_state_dict(weights, strict=True)
        return backbone

    methods: dict[str, Callable[[], float]] = {
        "probe_shipped": lambda: probe_accuracy(task, build(True)),
        "probe_untrained": lambda: probe_accuracy(task, build(False)),
        "scratch": lambda: scratch_accuracy(task, build(False)),
        "raw_pixels": lambda: raw_pixel_accuracy(task),
    }
    return [_timed(method, measure, labels_per_class, task.seed) for method, measure in methods.items()]


def _timed(method: str, measure: Callable[[], float], labels_per_class: int, seed: int) -> Result:
    start = time.perf_counter()
    accuracy = measure()
    return Result(method, labels_per_class, seed, round(accuracy, 4), round(time.perf_counter() - start, 2), N_TEST)


def write_results(results: list[Result], card: BackboneCard) -> None:
    """The table as CSV, and beside it what it was measured with as JSON."""
    RESULT.parent.mkdir(parents=True, exist_ok=True)
    with RESULT.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, [field.name for field in fields(Result)], lineterminator="\n")
        writer.writeheader()
        writer.writerows(asdict(result) for result in results)
    about = {
        "command": "python -m benchmarks.backbone_transfer",
        "date": datetime.now(UTC).date().isoformat(),
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "threads": N_THREADS,
        "load_average_at_the_end": [round(load, 1) for load in os.getloadavg()],
        "versions": {"python": platform.python_version()}
        | {name: version(name) for name in ("numpy", "pillow", "scikit-learn", "timm", "torch")},
        "backbone": {"name": card.spec.origin, "weights_sha256": card.spec.weights_sha256},
        "settings": {"seeds": SEEDS, "n_test": N_TEST, "c_grid": C_GRID, "n_folds": N_FOLDS, "scratch": SCRATCH},
    }
    RESULT.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")


def _cpu_model() -> str:
    path = Path("/proc/cpuinfo")
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    return next((line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")), platform.processor() or "unknown")


def table(results: list[Result]) -> str:
    """Median (min to max) over the seeds, a line per method and number of labels."""
    lines = [f"{'method':<16} {'labels/class':>12} {'median':>8} {'min':>8} {'max':>8} {'seconds':>8}"]
    for method, n_labels in dict.fromkeys((result.method, result.labels_per_class) for result in results):
        rows = [result for result in results if (result.method, result.labels_per_class) == (method, n_labels)]
        accuracies = [row.accuracy for row in rows]
        seconds = float(np.median([row.seconds for row in rows]))
        lines.append(
            f"{method:<16} {n_labels:>12} {np.median(accuracies):>8.3f} {min(accuracies):>8.3f} {max(accuracies):>8.3f} {seconds:>8.1f}"
        )
    return "\n".join(lines)


def main() -> None:
    """Measures all draws and writes the table."""
    torch.set_num_threads(N_THREADS)
    card, weights = load_shipped(BACKBONE, ROOT / "backbones")
    inputs, pixels, labels = digits_as_inputs(card)
    results: list[Result] = []
    for n_labels in LABELS_PER_CLASS:
        for seed in SEEDS:
            results += run_task(draw_task(inputs, pixels, labels, n_labels, seed), card, weights, n_labels)
            print(
                *(f"{result.method} {result.accuracy:.3f}" for result in results[-4:]), f"({n_labels} per class, seed {seed})", flush=True
            )
    write_results(results, card)
    print(table(sorted(results, key=lambda result: result.method)))


if __name__ == "__main__":
    main()
