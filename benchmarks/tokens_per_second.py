"""Features of texts beside the prediction loop of the plain Trainer, from the same texts: `python -m benchmarks.tokens_per_second`.

    regraft    `embed`, as stage `train` computes features: batches of 32 texts of about one length, padded to that length
    trainer    `Trainer.predict` of transformers in its default settings: batches of 8 in the order of the texts, padded to their longest

Both begin at the text: tokenising is part of it. Rounds alternate, so that a busy moment hits both; each round has its own ratio, by the
clock on the wall and by the processor's time. Tokens are those of the texts, padding not counted. Needs ../shared and the extra
text-offline.
"""

from __future__ import annotations

import argparse
import hashlib
import statistics
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.contest.job import Stopwatch
from benchmarks.machine import spread, write_results
from benchmarks.text_transfer.tasks import entry, reviews
from pipelines.backbones import load_backbone, select_backbone
from pipelines.core.modalities.text import TextModality
from pipelines.dataset import Sample
from pipelines.text_rows import text_bytes
from pipelines.training.embedding import embed
from pipelines.training.inputs import SampleInputs
from pipelines.transformer_files import located

MAX_TOKENS = 256


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--threads", type=int, default=2)
    options = parser.parse_args()
    texts = [text for text, _ in reviews("kitchen")][: options.texts]
    with tempfile.TemporaryDirectory(prefix="regraft-bench-") as folder:
        calls = {"regraft": _regraft(texts, Path(folder), options.threads), "trainer": _trainer(texts, Path(folder), options.threads)}
        rates = measured(calls, _n_tokens(texts), options.rounds)
    rows = [
        {"what": what, "unit": unit, "texts": len(texts), "threads": options.threads, **spread(values)}
        for (what, unit), values in rates.items()
    ]
    print(write_results("tokens_per_second", "python -m benchmarks.tokens_per_second", rows, {"max_tokens": MAX_TOKENS}).read_text())


def measured(calls: dict[str, Callable[[], object]], n_tokens: int, n_rounds: int) -> dict[tuple[str, str], list[float]]:
    """Tokens a second in each round by who and unit, and the ratio of the first to the second."""
    first, second = calls
    rates: dict[tuple[str, str], list[float]] = {}
    for call in calls.values():  # warm-up: libraries import much of themselves when it is first used
        call()
    for _ in range(n_rounds):
        taken = {}
        for what, call in calls.items():
            watch = Stopwatch()
            call()
            taken[what] = watch.read()
        for place, unit in enumerate(("tokens_per_second", "tokens_per_cpu_second")):
            for what in calls:
                rates.setdefault((what, unit), []).append(n_tokens / taken[what][place])
            rates.setdefault((f"{first} / {second}", unit), []).append(taken[second][place] / taken[first][place])
        print({key: round(statistics.median(values), 2) for key, values in rates.items()}, flush=True)
    return rates


def _n_tokens(texts: Sequence[str]) -> int:
    modality = select_backbone(entry(MAX_TOKENS)).modality
    if not isinstance(modality, TextModality):
        raise SystemExit("the backbone is none of texts")
    return sum(len(modality.decode(text_bytes(text)).ids) for text in texts)


def _regraft(texts: Sequence[str], folder: Path, n_threads: int) -> Callable[[], object]:
    import torch

    torch.set_num_threads(n_threads)
    selected = select_backbone(entry(MAX_TOKENS))
    network = load_backbone(entry(MAX_TOKENS), selected)
    samples = [_written(text, folder) for text in texts]

    def call() -> object:
        # New each time: nothing of it is tokenised yet.
        inputs = SampleInputs(samples, folder, selected.preprocess, ("a",), folder=selected.folder)
        return embed(network, inputs, n_workers=n_threads)

    return call


def _written(text: str, folder: Path) -> Sample:
    id_ = hashlib.sha256(text_bytes(text)).hexdigest()
    (folder / f"{id_}.txt").write_bytes(text_bytes(text))
    return Sample(id_, f"{id_}.txt", "a", id_, "", "", "train")


def _trainer(texts: Sequence[str], folder: Path, n_threads: int) -> Callable[[], object]:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments

    torch.set_num_threads(n_threads)
    weights = str(located(entry(MAX_TOKENS)).weights.parent)
    tokenizer = AutoTokenizer.from_pretrained(weights)
    trainer = Trainer(
        model=AutoModelForSequenceClassification.from_pretrained(weights, num_labels=2),
        args=TrainingArguments(output_dir=str(folder / "trainer"), use_cpu=True, report_to="none", disable_tqdm=True),
        data_collator=DataCollatorWithPadding(tokenizer),
    )

    def call() -> object:
        tokens = tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)
        rows: Any = [{key: values[place] for key, values in tokens.items()} for place in range(len(texts))]
        return trainer.predict(rows)

    return call


if __name__ == "__main__":
    main()
