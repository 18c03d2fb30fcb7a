"""The Trainer of transformers as its documentation has it, all weights trained: 3 epochs of batches of 8 at 5e-5, falling linearly to 0.

Its defaults choose nothing by validation: the last epoch's weights are kept. Texts are padded to the longest of their batch.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments
from transformers.trainer_utils import set_seed

from benchmarks.contest.job import Outcome, Stopwatch, run_contender
from benchmarks.text_transfer.job import TextJob


class Tokenized(Dataset[dict[str, object]]):
    """What the Trainer wants: token ids and a label."""

    def __init__(self, rows: list[list[str]], job: TextJob, tokenizer: Any) -> None:
        texts = [text for text, _ in rows]
        self.inputs = tokenizer(texts, truncation=True, max_length=job.max_tokens)
        self.targets = [job.labels.index(label) for _, label in rows]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int) -> dict[str, object]:
        return {key: values[index] for key, values in self.inputs.items()} | {"labels": self.targets[index]}


def contend(job: TextJob, folder: Path) -> Outcome:
    torch.set_num_threads(job.n_threads)
    set_seed(job.seed)
    watch = Stopwatch()
    tokenizer = AutoTokenizer.from_pretrained(job.weights)
    model = AutoModelForSequenceClassification.from_pretrained(job.weights, num_labels=len(job.labels))
    # Nothing is written: a checkpoint is no part of what is compared.
    arguments = TrainingArguments(
        output_dir=str(folder / "trainer"), seed=job.seed, use_cpu=True, save_strategy="no", report_to="none", disable_tqdm=True
    )
    trainer = Trainer(
        model=model,
        args=arguments,
        train_dataset=Tokenized(job.train, job, tokenizer),
        data_collator=DataCollatorWithPadding(tokenizer),
    )
    trainer.train()
    seconds = watch.read()
    predicted = np.asarray(trainer.predict(Tokenized(job.test, job, tokenizer)).predictions).argmax(axis=1)
    truth = np.array([job.labels.index(label) for _, label in job.test])
    return Outcome(float((predicted == truth).mean()), *seconds, note=f"{trainer.state.global_step} steps")


if __name__ == "__main__":
    run_contender(TextJob, contend)
