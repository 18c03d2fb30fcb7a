"""setfit as its documentation has it: one epoch of every pair of texts, the rarer kind oversampled, then its logistic regression.

Pairs grow with the square of the texts: 9 steps of 16 pairs at 8 labels a class, 520 at 64, and 32,832 at 512, which would take hours on
a CPU. So there are at most `MAX_STEPS` of them, by its own argument; the note says how many there were.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments
from transformers.trainer_utils import set_seed

from benchmarks.contest.job import Outcome, Stopwatch, run_contender
from benchmarks.text_transfer.job import TextJob
from benchmarks.text_transfer.setfit_steps import n_steps

MAX_STEPS = 520


def contend(job: TextJob, folder: Path) -> Outcome:
    torch.set_num_threads(job.n_threads)
    set_seed(job.seed)
    watch = Stopwatch()
    model = SetFitModel.from_pretrained(job.weights, device="cpu", local_files_only=True)
    texts, targets = [text for text, _ in job.train], [job.labels.index(label) for _, label in job.train]
    n_all = n_steps(targets)
    arguments = TrainingArguments(
        output_dir=str(folder / "setfit"),
        seed=job.seed,
        report_to="none",
        save_strategy="no",
        show_progress_bar=False,
        max_length=job.max_tokens,
        **({"max_steps": MAX_STEPS} if n_all > MAX_STEPS else {}),
    )
    trainer = Trainer(model=model, args=arguments, train_dataset=Dataset.from_dict({"text": texts, "label": targets}))
    trainer.train()
    seconds = watch.read()
    predicted = np.asarray(model.predict([text for text, _ in job.test]))
    truth = np.array([job.labels.index(label) for _, label in job.test])
    return Outcome(float((predicted == truth).mean()), *seconds, note=f"{min(MAX_STEPS, n_all)} of {n_all} steps")


if __name__ == "__main__":
    run_contender(TextJob, contend)
