from __future__ import annotations

import csv
import gzip
from collections import Counter
from pathlib import Path

import pytest

from pipelines.core.errors import ConfigurationError, DataError
from pipelines.labels_table import read_labels_table
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


def table(folder: Path, *rows: tuple[str, ...], header: tuple[str, ...] = ("domain", "label", "review_id", "text")) -> Path:
    with gzip.open(folder / "reviews.csv.gz", "wt", encoding="utf-8", newline="") as stream:
        csv.writer(stream).writerows([header, *rows])
    return folder / "reviews.csv.gz"


def test_reviews_are_read_once_each(tmp_path: Path) -> None:
    rows = [("books", "good", "1", "A fine\nread, \N{OWL}"), ("dvd", "bad", "2", "a FINE read, \N{OWL} "), ("dvd", "bad", "3", "dull")]
    found = review_texts(table(tmp_path, *rows))
    assert found == [LabelledText("A fine\nread, \N{OWL}", "good", "books"), LabelledText("dull", "bad", "dvd")]


def test_a_table_that_is_none_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"reviews.csv.gz, which lacks rows or cells.*domain, label, text.*--reviews"):
        review_texts(table(tmp_path, ("books", "good"), header=("domain", "label")))
    (tmp_path / "reviews.csv.gz").write_bytes(b"domain,label,text\n")
    with pytest.raises(DataError, match="cannot be read"):
        review_texts(tmp_path / "reviews.csv.gz")
    with pytest.raises(DataError, match="cannot be read"):
        review_texts(tmp_path / "none.csv.gz")


def test_the_choice_depends_on_the_texts_alone() -> None:
    texts = [LabelledText(f"text {number}", "ab"[number % 2], "old" if number < 60 else "new") for number in range(80)]
    kept = chosen(texts, "old", 10)
    assert Counter(item.label for item in kept) == {"a": 10, "b": 10}
    assert {item.domain for item in kept} == {"old"}
    assert kept == chosen(texts[::-1], "old", 10)
    assert set(chosen([*texts, LabelledText("more", "a", "old")], "old", 10)) - set(kept) <= {LabelledText("more", "a", "old")}
    assert len(chosen(texts, "new", 1_000)) == 20


def test_of_nearly_the_same_texts_the_first_stays() -> None:
    sentence = "The axis along which the values of the array are counted, from the first to the last one"
    texts = [LabelledText(text, "a", "old") for text in (sentence, "Something else altogether", f"{sentence}.", f"{sentence}!")]
    assert without_near_duplicates(texts) == texts[:2]


def test_a_share_is_held_out_whatever_was_chosen(tmp_path: Path) -> None:
    texts = [LabelledText(f'a "text", {number}\r\n and more', "ab"[number % 2], "old") for number in range(4_000)]
    kept = chosen(texts, "old", 500)
    materialise_texts(tmp_path / "data", kept, holdout_frac=0.2)
    rows = read_labels_table(tmp_path / "data" / "labels.csv", holds="texts").rows
    assert [(row.text, row.label, row.domain) for row in rows] == [(item.text, item.label, item.domain) for item in kept]
    n_held_out = sum(row.split == "holdout" for row in rows)
    assert 150 < n_held_out < 250
    with pytest.raises(ConfigurationError, match="not empty"):
        materialise_texts(tmp_path / "data", kept, holdout_frac=0.2)


@pytest.mark.slow
def test_documentation_has_enough_of_each_library() -> None:
    texts = documentation_texts()
    counts = Counter((item.label, item.domain) for item in texts)
    assert set(counts) == {(library, domain) for library in LIBRARIES for domain in (SUMMARIES, PARAMETERS)}
    assert min(counts.values()) >= 400
    assert max(len(item.text) for item in texts) <= 300
    assert len({item.text for item in texts}) == len(texts)
    assert LabelledText("Generate isotropic Gaussian blobs for clustering.", "sklearn", SUMMARIES) in texts
