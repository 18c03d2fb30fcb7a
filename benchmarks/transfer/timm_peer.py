"""A plain training loop of timm: its optimiser, schedule, augmentation, loss and defaults (train.py of timm 1.0), all weights trained.

Epochs are 30 instead of 300 and the batch is at most 32 instead of 128, so that the smallest draws get enough steps in the time that
a CPU has; the rate follows the batch as in train.py. The best epoch on validation is kept, as train.py does.

With few classes it stays near chance on MobileNet: timm draws that classifier's weights from a range that grows as classes get fewer (up to
0.7 for two), so the first losses are large and their gradients undo the pretraining. `create_model(..., num_classes=2)` does so for anyone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from pathlib import Path

import timm
import torch
from PIL import Image
from safetensors.torch import load_file
from timm.data import create_loader
from timm.loss import LabelSmoothingCrossEntropy
from timm.optim import create_optimizer_v2
from timm.scheduler import create_scheduler_v2

from benchmarks.contest.job import Outcome, Stopwatch, run_contender
from benchmarks.transfer.job import Job

N_EPOCHS = 30
WARMUP_EPOCHS = 5
BATCH_SIZE = 32


Batches = Iterable[tuple[torch.Tensor, torch.Tensor]]


def untransformed(image: Image.Image) -> object:
    return image


class Files(torch.utils.data.Dataset[tuple[object, int]]):
    """What timm's loader wants: an image and its class; the loader sets `transform`."""

    def __init__(self, rows: list[list[str]], job: Job) -> None:
        self.rows, self.job = rows, job
        self.transform: Callable[[Image.Image], object] = untransformed

    def __len__(self) -> int:
        return len(self.rows)

    def __getitem__(self, index: int) -> tuple[object, int]:
        path, label = self.rows[index]
        image = Image.open(path).convert("L" if self.job.in_channels == 1 else "RGB")
        return self.transform(image), self.job.labels.index(label)


def contend(job: Job, folder: Path) -> Outcome:
    torch.set_num_threads(job.n_threads)
    torch.manual_seed(job.seed)
    watch = Stopwatch()
    model = _model(job)
    _train(model, job)
    seconds = watch.read()
    return Outcome(_accuracy(model, _loader(job.test, job, training=False)), *seconds)


def _model(job: Job) -> torch.nn.Module:
    arguments = {key: tuple(value) if isinstance(value, list) else value for key, value in job.model_args.items()}
    model = timm.create_model(job.architecture, num_classes=len(job.labels), in_chans=job.in_channels, **arguments)
    state = {key: value for key, value in load_file(job.weights).items() if not key.startswith(f"{model.pretrained_cfg['classifier']}.")}
    missing, _ = model.load_state_dict(state, strict=False)
    wrong = [key for key in missing if not key.endswith("num_batches_tracked") and not key.startswith(model.pretrained_cfg["classifier"])]
    if wrong:
        raise SystemExit(f"weights lack {wrong[:5]}")
    prepared: torch.nn.Module = model
    return prepared


def _loader(rows: list[list[str]], job: Job, *, training: bool) -> Batches:
    loader: Batches = create_loader(
        Files(rows, job),
        input_size=(job.in_channels, job.side_px, job.side_px),
        batch_size=_batch_size(job),
        is_training=training,
        use_prefetcher=False,
        hflip=0.5 if job.flips else 0.0,
        color_jitter=0.4 if job.in_channels == 3 else None,
        interpolation="random" if training else "bicubic",
        mean=tuple(job.mean),
        std=tuple(job.std),
        num_workers=0,
        crop_pct=1.0 if job.in_channels == 1 else 0.875,
        pin_memory=False,
    )
    return loader


def _batch_size(job: Job) -> int:
    return min(BATCH_SIZE, len(job.train) // 2)


def _train(model: torch.nn.Module, job: Job) -> None:
    loader, judge = _loader(job.train, job, training=True), _loader(job.validation, job, training=False)
    optimizer = create_optimizer_v2(model, opt="sgd", lr=0.1 * _batch_size(job) / 256, weight_decay=2e-5, momentum=0.9)
    scheduler, _ = create_scheduler_v2(optimizer, sched="cosine", num_epochs=N_EPOCHS, warmup_epochs=WARMUP_EPOCHS, warmup_lr=1e-5)
    loss_of = LabelSmoothingCrossEntropy(0.1)
    best, best_state = -1.0, copy.deepcopy(model.state_dict())
    for epoch in range(N_EPOCHS):
        scheduler.step(epoch)
        model.train()
        for images, targets in loader:
            optimizer.zero_grad()
            loss_of(model(images), targets).backward()
            optimizer.step()
        accuracy = _accuracy(model, judge)
        if accuracy > best:
            best, best_state = accuracy, copy.deepcopy(model.state_dict())
    model.load_state_dict(best_state)


def _accuracy(model: torch.nn.Module, loader: Batches) -> float:
    model.eval()
    hits = n = 0
    with torch.inference_mode():
        for images, targets in loader:
            hits += int((model(images).argmax(dim=1) == targets).sum())
            n += len(targets)
    return hits / n


if __name__ == "__main__":
    run_contender(Job, contend)
