"""Fine-tuning images/s on a GPU beside a plain timm loop on the same card: `make bench-gpu`.

Needs torch, timm, pydantic, scipy and pandas and this folder; nothing of Regraft is installed. For each network, alternating in one run:

    plain            timm's model, float32, cross entropy, AdamW: what its documentation begins with, synthetic tensors
    plain_bf16       the same under bfloat16 autocast
    ours_synthetic   Regraft's step (bfloat16, channels-last, torch.compile, clipping) on the same tensors
    ours_decoding    the same step on JPEG photographs of 500 x 375 px, decoded by Regraft's loader

`share_of_peak` is 3 x forward FLOPs x images/s over the rate of an 8192^3 bfloat16 product on this card.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import json
import os
import platform
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import timm
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from pipelines.config.methods import FineTuneMethod
from pipelines.core.preprocess import ImagePreprocess, preprocess
from pipelines.dataset import Sample, read_sample
from pipelines.training.batches import StepBatch
from pipelines.training.inputs import SampleInputs
from pipelines.training.loading import loaded_batches
from pipelines.training.objective import make_objective
from pipelines.training.optimization import build_optimizer, trainable_groups
from pipelines.training.precision import Precision
from pipelines.training.runtime import Runtime
from pipelines.training.step import Learner, take_step

RESULT = Path(__file__).resolve().parent / "results" / "gpu_fine_tune.csv"
NETWORKS = {"vit_base_patch16_224": 17.58e9, "convnext_base": 15.38e9, "resnet50": 4.11e9}  # multiply-adds of one forward pass
N_CLASSES = 100
SIDE_PX = 224
N_PHOTOS = 512

PREPROCESS = ImagePreprocess(
    color="RGB", height_px=SIDE_PX, width_px=SIDE_PX, fit="crop", crop_frac=0.9, mean=(0.5,) * 3, std=(0.5,) * 3, jpeg_draft=True
)


class Decoding:
    """Reads and decodes at every call, where `SampleInputs` would keep what it decoded."""

    def __init__(self, photos: SampleInputs) -> None:
        self.samples, self.targets, self.photos = photos.samples, photos.targets, photos

    def __len__(self) -> int:
        return len(self.photos)

    def batch(self, indices: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        files = [read_sample(self.photos.data, self.samples[int(index)]) for index in indices]
        return preprocess(files, PREPROCESS)


def main() -> None:
    options = _options()
    device = torch.device(options.device)
    peak = _peak_flops(device)
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as folder:
        photos = _photos(Path(folder))
        for name in options.networks:
            rates: dict[str, list[float]] = {}
            contenders = _contenders(name, photos, options, device)
            for _ in range(options.repeats):
                for contender, run in contenders.items():
                    rates.setdefault(contender, []).append(run())
            rows += [_row(name, contender, found, options, peak) for contender, found in rates.items()]
            print(*(f"{row['network']} {row['contender']} {row['images_per_second']}" for row in rows[-4:]), sep="\n", flush=True)
    _write(rows, options, device, peak)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", default="cuda", choices=("cuda", "cpu"))
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS))
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--warmup-steps", type=int, default=10)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--no-compile", dest="compiles", action="store_false")
    parser.add_argument("--out", type=Path, default=RESULT)
    return parser.parse_args()


def _contenders(name: str, photos: SampleInputs, options: argparse.Namespace, device: torch.device) -> dict[str, Callable[[], float]]:
    images = torch.randn(options.batch_size, 3, SIDE_PX, SIDE_PX)
    targets = torch.randint(N_CLASSES, (options.batch_size,))
    learner, prepared = _learner(name, options, device)
    chosen = np.arange(options.batch_size)
    ready = images.to(device, memory_format=torch.channels_last)

    def synthetic() -> Iterator[StepBatch]:
        while True:
            yield StepBatch(chosen, ready, targets.to(device))

    def decoded() -> Iterator[StepBatch]:
        rng = np.random.default_rng(0)
        places = (rng.integers(len(photos), size=options.batch_size) for _ in itertools.count())
        for batch in loaded_batches(Decoding(photos), places, n_workers=None, device=str(device)):
            yield StepBatch(chosen, batch.to(device, non_blocking=True), targets.to(device))

    def ours(batches: Callable[[], Iterator[StepBatch]]) -> float:
        stream = batches()
        return _rate(lambda: _step(learner, prepared, next(stream), photos), options, device)

    return {
        "plain": _plain(name, images, targets, options, device, bf16=False),
        "plain_bf16": _plain(name, images, targets, options, device, bf16=True),
        "ours_synthetic": lambda: ours(synthetic),
        "ours_decoding": lambda: ours(decoded),
    }


def _step(learner: Learner, prepared: nn.Module, batch: StepBatch, source: SampleInputs) -> None:
    take_step(learner, prepared, batch, source, (1, 0), len(batch.chosen))


def _learner(name: str, options: argparse.Namespace, device: torch.device) -> tuple[Learner, nn.Module]:
    backbone = timm.create_model(name, num_classes=0)
    network = nn.Sequential(backbone, nn.Linear(backbone.num_features, N_CLASSES)).to(device)
    recipe = FineTuneMethod(kind="fine_tune", label_smoothing=0.1)
    groups = trainable_groups(backbone, None)
    optimizer, scheduler = build_optimizer(network, groups, recipe, n_steps=1_000_000)
    runtime = Runtime(device, Precision("bf16", "asked for"), compiles=options.compiles)
    targets = np.arange(options.batch_size, dtype=np.int64) % N_CLASSES
    objective = make_objective(targets, N_CLASSES, "one", recipe, str(device))
    learner = Learner(network, network, objective, optimizer, scheduler, recipe, runtime, seed=0, start={})
    return learner, runtime.prepare(network)


def _plain(
    name: str, images: torch.Tensor, targets: torch.Tensor, options: argparse.Namespace, device: torch.device, *, bf16: bool
) -> Callable[[], float]:
    model = timm.create_model(name, num_classes=N_CLASSES).to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    inputs, labels = images.to(device), targets.to(device)

    def step() -> None:
        optimizer.zero_grad()
        with torch.autocast(device.type, dtype=torch.bfloat16) if bf16 else nullcontext():
            loss = nn.functional.cross_entropy(model(inputs), labels)
        torch.autograd.backward(loss)
        optimizer.step()

    model.train()
    return lambda: _rate(step, options, device)


def _rate(step: Callable[[], None], options: argparse.Namespace, device: torch.device) -> float:
    for _ in range(options.warmup_steps):
        step()
    _wait(device)
    started = time.perf_counter()
    for _ in range(options.steps):
        step()
    _wait(device)
    return float(options.steps * options.batch_size) / (time.perf_counter() - started)


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize()


def _peak_flops(device: torch.device) -> float:
    n = 8192 if device.type == "cuda" else 512
    left = torch.randn(n, n, device=device, dtype=torch.bfloat16)
    for _ in range(3):
        left @ left
    _wait(device)
    started = time.perf_counter()
    for _ in range(10):
        left @ left
    _wait(device)
    return 10 * 2 * n**3 / (time.perf_counter() - started)


def _photos(folder: Path) -> SampleInputs:
    rng = np.random.default_rng(0)
    samples = []
    for number in range(N_PHOTOS):
        coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        path = folder / f"{number:04d}.jpg"
        coarse.resize((500, 375), Image.Resampling.BICUBIC).save(path, quality=90)
        samples.append(Sample(hashlib.sha256(path.read_bytes()).hexdigest(), path.name, "0", path.name, "default", "", "train"))
    return SampleInputs(samples, folder, PREPROCESS, ("0", "1"))


def _row(name: str, contender: str, rates: list[float], options: argparse.Namespace, peak: float) -> dict[str, object]:
    rate = statistics.median(rates)
    return {
        "network": name,
        "contender": contender,
        "n": len(rates),
        "images_per_second": round(rate, 1),
        "min": round(min(rates), 1),
        "max": round(max(rates), 1),
        "batch_size": options.batch_size,
        "share_of_peak": round(3 * 2 * NETWORKS.get(name, float("nan")) * rate / peak, 4),
    }


def _write(rows: list[dict[str, object]], options: argparse.Namespace, device: torch.device, peak: float) -> None:
    options.out.parent.mkdir(parents=True, exist_ok=True)
    with options.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(rows[0]), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    about = {
        "command": "make bench-gpu",
        "date": datetime.now(UTC).date().isoformat(),
        "device": torch.cuda.get_device_name() if device.type == "cuda" else platform.machine(),
        "cores": os.cpu_count(),
        "bf16_flops_measured": peak,
        "compile": options.compiles,
        "versions": {"python": platform.python_version(), "torch": torch.__version__, "timm": timm.__version__},
    }
    options.out.with_suffix(".json").write_text(json.dumps(about, indent=2) + "\n")


if __name__ == "__main__":
    main()
