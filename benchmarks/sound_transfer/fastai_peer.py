"""fastai on spectrograms as images: `aug_transforms` without mirroring, and one of two schedules, named on the command line.

fastai              `fine_tune` as its documentation has it: one frozen epoch, then ten in which the network learns at a hundredth of the
                    head's rate
fastai_one_cycle    `fit_one_cycle` over as many epochs, the whole network at fastai's own rate: for inputs far from the pretrained ones

Its own two-layer head; the best epoch on the speaker to choose by is kept (`SaveModelCallback`). Batches are of 16, as Regraft's of sounds:
fastai's default of 64 gave so few samples a quarter of the steps. A sound of several patches counts by the mean of its answers.
"""

from __future__ import annotations

import sys
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
    PILImageBW,
    SaveModelCallback,
    accuracy,
    aug_transforms,
    default_split,
    set_seed,
)
from fastai.vision.learner import create_timm_model

from benchmarks.contest.job import Outcome, Stopwatch, run_contender
from benchmarks.sound_transfer.job import FASTAI_BATCH_SIZE, FASTAI_EPOCHS, SoundJob
from benchmarks.transfer.fastai_peer import load_body


def contend(job: SoundJob, folder: Path) -> Outcome:
    torch.set_num_threads(job.n_threads)
    set_seed(job.seed, reproducible=True)
    watch = Stopwatch()
    learner = _learner(job, folder)
    with learner.no_bar(), learner.no_logging():
        _fit(learner, SaveModelCallback(monitor="accuracy"), sys.argv[1])
    (wall, cpu), (pictures_wall, pictures_cpu) = watch.read(), job.pictures_seconds
    return Outcome(_test_accuracy(learner, job), wall + pictures_wall, cpu + pictures_cpu)


def _fit(learner: Learner, keeps_best: SaveModelCallback, schedule: str) -> None:
    if schedule == "fastai":
        learner.fine_tune(FASTAI_EPOCHS, cbs=keeps_best)
    else:
        learner.fit_one_cycle(FASTAI_EPOCHS + 1, cbs=keeps_best)


def _learner(job: SoundJob, folder: Path) -> Learner:
    rows = [
        (picture, label, is_valid)
        for part, is_valid in ((job.train, False), (job.validation, True))
        for path, label in part
        for picture in job.pictures[path]
    ]
    block = DataBlock(
        blocks=(ImageBlock(PILImageBW), CategoryBlock(vocab=job.labels)),
        get_x=ColReader("path"),
        get_y=ColReader("label"),
        splitter=ColSplitter(),
        batch_tfms=[*aug_transforms(do_flip=False), Normalize.from_stats([job.mean], [job.std], cuda=False)],
    )
    table = pd.DataFrame(rows, columns=["path", "label", "is_valid"])
    loaders = block.dataloaders(table, bs=FASTAI_BATCH_SIZE, path=folder, num_workers=0)
    model, _ = create_timm_model("mobilenetv1_100", len(job.labels), pretrained=False, n_in=1, pad_type="same")
    load_body(model[0].model, job.weights)
    return Learner(loaders, model, splitter=default_split, metrics=accuracy, path=folder)


def _test_accuracy(learner: Learner, job: SoundJob) -> float:
    owners = [place for place, (path, _) in enumerate(job.test) for _ in job.pictures[path]]
    loader = learner.dls.test_dl([picture for path, _ in job.test for picture in job.pictures[path]])
    with learner.no_bar():
        chances = learner.get_preds(dl=loader)[0].numpy()
    # Per sound: the sum has its highest where the mean has.
    summed = np.zeros((len(job.test), chances.shape[1]))
    np.add.at(summed, owners, chances)
    truth = np.array([list(learner.dls.vocab).index(label) for _, label in job.test])
    return float((summed.argmax(axis=1) == truth).mean())


if __name__ == "__main__":
    run_contender(SoundJob, contend)
