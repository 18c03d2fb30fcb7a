"""fastai's `fine_tune` as its documentation has it: `aug_transforms`, one frozen epoch, then ten with discriminative rates.

Its own two-layer head; the best epoch on validation is kept (`SaveModelCallback`), as ours and timm's loop do.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import torch
from fastai.vision.all import (
    CategoryBlock,
    ColReader,
    ColSplitter,
    DataBlock,
    ImageBlock,
    Learner,
    Normalize,
    PILImage,
    PILImageBW,
    Resize,
    ResizeMethod,
    SaveModelCallback,
    accuracy,
    aug_transforms,
    default_split,
    set_seed,
)
from fastai.vision.learner import create_timm_model
from safetensors.torch import load_file

from benchmarks.contest.job import Outcome, Stopwatch, run_contender
from benchmarks.transfer.job import Job

N_EPOCHS = 10


def contend(job: Job, folder: Path) -> Outcome:
    torch.set_num_threads(job.n_threads)
    set_seed(job.seed, reproducible=True)
    watch = Stopwatch()
    learner = _learner(job, folder)
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(N_EPOCHS, cbs=SaveModelCallback(monitor="accuracy"))
    seconds = watch.read()
    loader = learner.dls.test_dl([row[0] for row in job.test])
    with learner.no_bar():
        predicted = learner.get_preds(dl=loader)[0].argmax(dim=1).numpy()
    truth = np.array([list(learner.dls.vocab).index(row[1]) for row in job.test])
    return Outcome(float((predicted == truth).mean()), *seconds)


def _learner(job: Job, folder: Path) -> Learner:
    rows = [(*row, False) for row in job.train] + [(*row, True) for row in job.validation]
    table = pd.DataFrame(rows, columns=["path", "label", "is_valid"])
    grey = job.in_channels == 1
    block = DataBlock(
        blocks=(ImageBlock(PILImageBW if grey else PILImage), CategoryBlock(vocab=job.labels)),
        get_x=ColReader("path"),
        get_y=ColReader("label"),
        splitter=ColSplitter(),
        item_tfms=Resize(job.side_px, method=ResizeMethod.Squish if grey else ResizeMethod.Crop),
        batch_tfms=[*aug_transforms(do_flip=job.flips), Normalize.from_stats(job.mean, job.std, cuda=False)],
    )
    # fastai's default of 64 leaves no whole batch of the smallest draws.
    loaders = block.dataloaders(table, bs=min(64, max(8, len(job.train) // 4)), path=folder, num_workers=0)
    model, _ = create_timm_model(job.architecture, len(job.labels), pretrained=False, n_in=job.in_channels, **_arguments(job))
    load_body(model[0].model, job.weights)
    return Learner(loaders, model, splitter=default_split, metrics=accuracy, path=folder)


def _arguments(job: Job) -> dict[str, object]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in job.model_args.items()}


def load_body(body: torch.nn.Module, weights: str) -> None:
    """Pretrained tensors into a network without its head; names those that the file lacks."""
    state = load_file(weights)
    wanted = body.state_dict()
    missing = [key for key in wanted if key not in state and not key.endswith("num_batches_tracked")]
    if missing:
        raise SystemExit(f"weights lack {missing[:5]}")
    body.load_state_dict({key: value for key, value in state.items() if key in wanted}, strict=False)


if __name__ == "__main__":
    run_contender(Job, contend)
