"""The demo of texts: reviews of one kind of product, then of another; or sentences of documentation where there are no reviews."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

from flows.demo.scenario import Item, Scenario
from pipelines.conf_template import FIRST_BACKBONES, ConfDefaults
from pipelines.sample_texts import (
    LIBRARIES,
    PARAMETERS,
    SUMMARIES,
    LabelledText,
    chosen,
    documentation_texts,
    materialise_texts,
    review_texts,
    without_near_duplicates,
)

_REVIEWS = Path("shared/data/amazon_reviews.csv.gz")


def reviews_beside_the_checkout() -> Path | None:
    """The table of reviews in `shared/` beside the folder of this project; nothing where there is none."""
    file = Path(__file__).resolve().parents[3] / _REVIEWS
    return file if file.is_file() else None


def reviews_of(file: Path) -> Scenario:
    """Reviews of books, positive or negative, then of kitchen appliances.

    Raises:
        DataError: The table cannot be read.
    """
    texts = review_texts(file)
    old, new = chosen(texts, "books", 600), chosen(texts, "kitchen", 410)
    data = f"{len(old)} real reviews of books, positive or negative ({file.name})"
    return _scenario("reviews", data, "Reviews of kitchen appliances", old, new, margin=0.08, n_labelled=620)


def documentation() -> Scenario:
    """Sentences that say what a function of three libraries is for, then such that describe a parameter."""
    texts = documentation_texts()
    # Much of a documentation is said again and again in nearly the same words, which the gate `leakage` would find.
    texts = without_near_duplicates([*chosen(texts, SUMMARIES, 480), *chosen(texts, PARAMETERS, 360)])
    old, new = chosen(texts, SUMMARIES, 400), chosen(texts, PARAMETERS, 280)
    data = f"{len(old)} real sentences of the documentation of {', '.join(LIBRARIES)}: which library is each about"
    return _scenario("documentation", data, "Sentences that describe parameters, no longer functions", old, new, margin=0.1, n_labelled=640)


def _scenario(
    project: str, data: str, shift: str, old: list[LabelledText], new: list[LabelledText], margin: float, n_labelled: int
) -> Scenario:
    return Scenario(
        task="text",
        project=project,
        data=data,
        shift=shift,
        old_domain=old[0].domain,
        new_domain=new[0].domain,
        labels=tuple(sorted({item.label for item in old})),
        n_samples=len(old),
        conf=ConfDefaults(
            expectation="About two minutes on two cores.",
            floor=0.6,
            # Of some 240 test samples of the old domain each sixth or so changes sides: no smaller loss could be ruled out.
            margin=margin,
            budget_minutes=0.5,
            backbone={**FIRST_BACKBONES["text"], "max_tokens": 64},
            sample_raw_frac=1.0,
            window=300,
            min_window=100,
            cooldown_minutes=10,
        ),
        materialise=partial(_materialise, texts=old),
        held_out=_held_out,
        shifted=lambda _: [Item(item.text.encode(), item.label, item.domain) for item in new],
        n_old_traffic=220,
        n_labelled=n_labelled,
    )


def _materialise(target: Path, texts: list[LabelledText]) -> None:
    materialise_texts(target, texts, holdout_frac=0.2)


def _held_out(data: Path) -> list[Item]:
    with (data / "labels.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream, strict=True) if row["split"] == "holdout"]
    return [Item(row["text"].encode(), row["label"], row["domain"]) for row in rows]
