"""What contenders on texts are given, and what the guide says of the results."""

from __future__ import annotations

import itertools
from pathlib import Path
from statistics import median

import pytest

from benchmarks.tables import read
from benchmarks.text_tables import GUIDE, render
from benchmarks.text_transfer.job import TextJob
from benchmarks.text_transfer.ours import project, samples
from benchmarks.text_transfer.setfit_steps import n_steps
from benchmarks.text_transfer.tasks import _without_copies
from pipelines.dataset import read_sample

TEXTS = ['a "quoted", one', "two\nlines", "plain", "plain", "smörgåsbord", " blanks around "]


def job() -> TextJob:
    rows = [[text, "ab"[number % 2]] for number, text in enumerate(TEXTS)]
    return TextJob(["a", "b"], rows[:2], rows[2:4], rows[4:], 0, 1, 3.0, weights="unused", max_tokens=64)


def test_ours_reads_the_very_texts_of_the_draw(tmp_path: Path) -> None:
    found = samples(job(), tmp_path / "data")
    assert [read_sample(tmp_path / "data", sample).decode() for sample in found] == TEXTS
    assert [sample.split for sample in found] == ["train"] * 2 + ["validation"] * 2 + ["test"] * 2
    assert [sample.label for sample in found] == list("ababab")


def test_auto_has_the_budget_of_the_draw_and_its_length() -> None:
    config = project(job(), "auto")
    assert config.method.kind == "auto"
    assert config.method.budget_minutes * 60 == pytest.approx(3.0)
    assert config.backbone.model_dump()["max_tokens"] == 64


def test_of_copies_the_first_is_kept_and_none_with_two_labels() -> None:
    assert _without_copies([("x", "a"), ("y", "a"), ("x", "a"), ("y", "b"), ("z", "b")]) == [("x", "a"), ("z", "b")]


@pytest.mark.parametrize("targets", [[0, 1], [0, 0, 0, 1], [0] * 8 + [1] * 8, [0, 1, 2] * 5])
def test_setfits_steps_are_those_of_all_pairs(targets: list[int]) -> None:
    pairs = [one == other for one, other in itertools.combinations_with_replacement(targets, 2)]
    n_pairs = 2 * max(sum(pairs), len(pairs) - sum(pairs))
    assert n_steps(targets) == len(range(0, n_pairs, 16))


def test_the_tables_are_the_files() -> None:
    text = GUIDE.read_text(encoding="utf-8")
    assert render(text) == text


def test_every_draw_has_the_floor_ours_and_a_peer() -> None:
    draws: dict[tuple[str, str, str], set[str]] = {}
    for row in read("text_transfer"):
        draws.setdefault((row["dataset"], row["labels_per_class"], row["seed"]), set()).add(row["contender"])
    assert draws
    assert all({"sklearn", "auto", "trainer"} <= contenders for contenders in draws.values())


def test_what_the_text_says() -> None:
    rows = {row["dataset"]: row for row in read("text_transfer_summary")}
    assert all(row["best_peer"] == "setfit" and float(row["difference_mean"]) < 0 for row in rows.values())
    assert float(rows["sst2"]["difference_high"]) < 0
    seconds = {
        name: [float(row["seconds"]) for row in read("text_transfer") if (row["dataset"], row["contender"]) == ("sst2", name)]
        for name in ("auto", "trainer")
    }
    assert 1 < median(seconds["auto"]) / median(seconds["trainer"]) < 1.25
    assert {row["labels_per_class"] for row in rows.values()} == {"8"}
    assert {row["note"] for row in read("text_transfer") if row["contender"] == "auto"} <= {"probe", "prototype"}
